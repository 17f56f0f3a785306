package api

import (
	"context"

	"google.golang.org/protobuf/types/known/emptypb"

	"causeway/controlplane/resource"
	pb "causeway/proto/causeway/v1"
)

type certificates struct {
	*kernel
	pb.UnsafeCertificatesServer
}

func (s *certificates) GetCertificate(ctx context.Context, req *pb.GetCertificateRequest) (*pb.Certificate, error) {
	return get(ctx, s.kernel, resource.Certificates, req.GetName())
}

func (s *certificates) ListCertificates(ctx context.Context, req *pb.ListCertificatesRequest) (*pb.ListCertificatesResponse, error) {
	items, next, err := list(ctx, s.kernel, resource.Certificates, req.GetParent(), req.GetPageSize(), req.GetPageToken())
	return &pb.ListCertificatesResponse{Certificates: items, NextPageToken: next}, err
}

func (s *certificates) CreateCertificate(ctx context.Context, req *pb.CreateCertificateRequest) (*pb.Certificate, error) {
	return create(ctx, s.kernel, resource.Certificates, creation[*pb.Certificate]{
		request: req, parent: req.GetParent(), id: req.GetCertificateId(), requestID: req.GetRequestId(),
		field: "certificate", value: req.GetCertificate(),
		prepare: func(_ context.Context, c *change, certificate *pb.Certificate) error {
			return c.sealCertificate(certificate, certificate.GetPrivateKey())
		},
	})
}

func (s *certificates) UpdateCertificate(ctx context.Context, req *pb.UpdateCertificateRequest) (*pb.Certificate, error) {
	return update(ctx, s.kernel, resource.Certificates, alteration[*pb.Certificate]{
		field: "certificate", value: req.GetCertificate(), mask: req.GetUpdateMask(), prepare: reviseCertificate,
	})
}

// reviseCertificate takes a new key, which comes in plain, or goes on with the sealed one.
func reviseCertificate(_ context.Context, c *change, before, after *pb.Certificate) error {
	if after.GetPrivateKey() != before.GetPrivateKey() {
		return c.sealCertificate(after, after.GetPrivateKey())
	}
	if after.GetCertificateChain() == before.GetCertificateChain() {
		return nil
	}
	key, err := c.secrets.Open(before.GetPrivateKey(), c.name)
	if err != nil {
		c.wrong.Add(c.path("private_key"), "that was given before cannot be read any more; give it again")
		return errViolations
	}
	return c.sealCertificate(after, string(key))
}

// sealCertificate checks a chain and its key, fills in what the certificate says and seals the key.
func (c *change) sealCertificate(certificate *pb.Certificate, key string) error {
	chain := c.readChain(certificate.GetCertificateChain())
	c.checkKey(chain, key)
	if c.wrong.Len() > 0 {
		return errViolations
	}
	describe(certificate, chain[0])
	var err error
	certificate.PrivateKey, err = c.secrets.Seal([]byte(key), c.name)
	return err
}

func (s *certificates) DeleteCertificate(ctx context.Context, req *pb.DeleteCertificateRequest) (*emptypb.Empty, error) {
	return remove(ctx, s.kernel, resource.Certificates, req.GetName(), req.GetEtag())
}
