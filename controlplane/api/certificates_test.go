package api

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"causeway/controlplane/resource"
	"causeway/gateway/spec/spectest"
	pb "causeway/proto/causeway/v1"
)

func (s *shop) certificates() pb.CertificatesClient { return pb.NewCertificatesClient(s.conn) }

func (s *shop) certify(id string, names ...string) *pb.Certificate {
	s.t.Helper()
	chain, key := spectest.Certificate(s.t, names...)
	made, err := s.certificates().CreateCertificate(s.ctx, &pb.CreateCertificateRequest{
		CertificateId: id, Certificate: &pb.Certificate{CertificateChain: chain, PrivateKey: key},
	})
	must(s.t, err)
	return made
}

func TestCertificateIsKeptSealed(t *testing.T) {
	s := newShop(t)
	chain, key := spectest.Certificate(t, "orders.example.com")
	made, err := s.certificates().CreateCertificate(s.ctx, &pb.CreateCertificateRequest{
		CertificateId: "orders", Certificate: &pb.Certificate{CertificateChain: chain, PrivateKey: key},
	})
	must(t, err)
	if made.GetPrivateKey() != "" || made.GetFingerprint() == "" || made.GetSubjectNames()[0] != "orders.example.com" {
		t.Errorf("created %v", made)
	}
	got, err := s.certificates().GetCertificate(s.ctx, &pb.GetCertificateRequest{Name: made.GetUid()})
	must(t, err)
	if !proto.Equal(got, made) {
		t.Errorf("got %v, want %v", got, made)
	}
	list, err := s.certificates().ListCertificates(s.ctx, &pb.ListCertificatesRequest{})
	must(t, err)
	if len(list.GetCertificates()) != 1 || !proto.Equal(list.GetCertificates()[0], made) {
		t.Errorf("listed %v", list)
	}
	stored, err := resource.Certificates.Get(t.Context(), sharedStore, made.GetName())
	must(t, err)
	secret := strings.Split(key, "\n")[1]
	text := prototext.Format(stored.Value)
	if strings.Contains(text, secret) || strings.Contains(text, base64.StdEncoding.EncodeToString([]byte(key))) {
		t.Errorf("stored in plain:\n%s", text)
	}
	if opened, err := s.api.kernel.secrets.Open(stored.Value.GetPrivateKey(), made.GetName()); err != nil || string(opened) != key {
		t.Errorf("opened %d bytes, %v", len(opened), err)
	}
}

// TestKeysAreNotOnDisk looks into every file of the store, the log of the last writes included.
func TestKeysAreNotOnDisk(t *testing.T) {
	s := newShop(t)
	chain, key := spectest.Certificate(t, "disk.example.com")
	made, err := s.certificates().CreateCertificate(s.ctx, &pb.CreateCertificateRequest{
		CertificateId: "disk", Certificate: &pb.Certificate{CertificateChain: chain, PrivateKey: key},
	})
	must(t, err)
	block, _ := pem.Decode([]byte(key))
	canaries := []string{strings.Split(key, "\n")[1], string(block.Bytes), hex.EncodeToString(block.Bytes), base64.StdEncoding.EncodeToString([]byte(key))}
	named := false
	must(t, filepath.WalkDir(sharedDir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		named = named || strings.Contains(string(content), made.GetFingerprint())
		for n, canary := range canaries {
			if strings.Contains(string(content), canary) {
				t.Errorf("%s holds the private key in form %d", path, n)
			}
		}
		return err
	}))
	if !named {
		t.Error("no file of the store holds the certificate: the test looks in the wrong place")
	}
}

func TestCertificateIsReplaced(t *testing.T) {
	s := newShop(t)
	made := s.certify("orders", "a.example.com")
	renamed, err := s.certificates().UpdateCertificate(s.ctx, &pb.UpdateCertificateRequest{
		Certificate: &pb.Certificate{Name: made.GetName(), DisplayName: new("Orders")},
	})
	must(t, err)
	if renamed.GetFingerprint() != made.GetFingerprint() {
		t.Error("another name changed the certificate")
	}
	chain, key := spectest.Certificate(t, "b.example.com")
	_, err = s.certificates().UpdateCertificate(s.ctx, &pb.UpdateCertificateRequest{
		Certificate: &pb.Certificate{Name: made.GetName(), CertificateChain: chain},
	})
	wantField(t, err, "certificate.private_key")
	after, err := s.certificates().UpdateCertificate(s.ctx, &pb.UpdateCertificateRequest{
		Certificate: &pb.Certificate{Name: made.GetName(), CertificateChain: chain, PrivateKey: key},
	})
	must(t, err)
	if after.GetSubjectNames()[0] != "b.example.com" || after.GetFingerprint() == made.GetFingerprint() || after.GetPrivateKey() != "" {
		t.Errorf("replaced by %v", after)
	}
}

func TestCertificateRules(t *testing.T) {
	s := newShop(t)
	chain, key := spectest.Certificate(t, "a")
	other, otherKey := spectest.Certificate(t, "b")
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	must(t, err)
	weakChain, weakKey := spectest.Certify(t, weak, "a")
	strong, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	rsaChain, rsaKey := spectest.Certify(t, strong, "a")
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	edChain, edKey := spectest.Certify(t, edwards, "a")
	small, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	must(t, err)
	smallChain, smallKey := spectest.Certify(t, small, "a")
	for n, tt := range []struct {
		name, chain, key, field string
	}{
		{"OK RSA", rsaChain, rsaKey, ""},
		{"OK Ed25519", edChain, edKey, ""},
		{"bad key of another", chain, otherKey, "certificate.private_key"},
		{"bad weak RSA", weakChain, weakKey, "certificate.private_key"},
		{"bad P-224", smallChain, smallKey, "certificate.private_key"},
		{"bad no PEM", chain, "secret-canary", "certificate.private_key"},
		{"bad two keys", chain, key + otherKey, "certificate.private_key"},
		{"bad key DER", chain, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "certificate.private_key"},
		{"bad chain order", chain + other, key, "certificate.certificate_chain"},
		{"bad chain text", chain + "secret-canary", key, "certificate.certificate_chain"},
		{"bad chain with key", chain + key, key, "certificate.certificate_chain"},
		{"bad chain long", strings.Repeat(chain, 11), key, "certificate.certificate_chain"},
		{"bad chain DER", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", key, "certificate.certificate_chain"},
		{"bad no chain", "", key, "certificate.certificate_chain"},
		{"bad no key", chain, "", "certificate.private_key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := s.certificates().CreateCertificate(s.ctx, &pb.CreateCertificateRequest{
				CertificateId: fmt.Sprintf("c%d", n), Certificate: &pb.Certificate{CertificateChain: tt.chain, PrivateKey: tt.key},
			})
			if tt.field == "" {
				must(t, err)
				return
			}
			wantField(t, err, tt.field)
			if text := prototext.Format(status.Convert(err).Proto()); strings.Contains(text, "canary") {
				t.Errorf("the error shows what was given: %s", text)
			}
		})
	}
}

func TestTLSListener(t *testing.T) {
	s := newShop(t)
	s.targetGroup("orders", "vpcs/partner")
	_, err := s.lbs.CreateLoadBalancer(s.ctx, &pb.CreateLoadBalancerRequest{
		LoadBalancerId: "orders", LoadBalancer: &pb.LoadBalancer{Subnets: []string{"vpcs/partner/subnets/a"}},
	})
	must(t, err)
	first, second := s.certify("first", "a.example.com"), s.certify("second", "b.example.com")
	create := func(l *pb.Listener) (*pb.Listener, error) {
		l.TargetGroup = "targetGroups/orders"
		return s.lbs.CreateListener(s.ctx, &pb.CreateListenerRequest{Parent: "loadBalancers/orders", Listener: l})
	}
	_, err = create(&pb.Listener{Port: 443, Protocol: pb.Listener_TLS})
	wantField(t, err, "listener.certificates")
	_, err = create(&pb.Listener{Port: 443, Protocol: pb.Listener_TLS, Certificates: []string{first.GetName(), first.GetUid()}})
	wantField(t, err, "listener.certificates[1]")
	_, err = create(&pb.Listener{
		Port: 80, Protocol: pb.Listener_TCP, Certificates: []string{first.GetUid()}, MinimumTlsVersion: pb.Listener_TLS_1_3, AlpnProtocols: []string{"h2"},
	})
	wantField(t, err, "listener.certificates", "listener.minimum_tls_version", "listener.alpn_protocols")
	_, err = create(&pb.Listener{Port: 443, Protocol: pb.Listener_TLS, Certificates: []string{first.GetUid()}, AlpnProtocols: []string{"h2", "a b"}})
	wantField(t, err, "listener.alpn_protocols[1]")
	_, err = create(&pb.Listener{Port: 443, Protocol: pb.Listener_TLS, Certificates: []string{"certificates/absent"}})
	wantError(t, err, codes.NotFound, "CERTIFICATE_NOT_FOUND", "certificates/absent")

	l, err := create(&pb.Listener{Port: 443, Protocol: pb.Listener_TLS, Certificates: []string{first.GetUid()}, AlpnProtocols: []string{"h2", "http/1.1"}})
	must(t, err)
	if l.GetMinimumTlsVersion() != pb.Listener_TLS_1_2 || l.GetCertificates()[0] != first.GetName() {
		t.Errorf("made %v", l)
	}
	l, err = s.lbs.UpdateListener(s.ctx, &pb.UpdateListenerRequest{Listener: &pb.Listener{Name: l.GetName(), Certificates: []string{second.GetName()}}})
	must(t, err)
	if len(l.GetCertificates()) != 1 || l.GetCertificates()[0] != second.GetName() {
		t.Errorf("updated to %v", l)
	}
	_, err = s.certificates().DeleteCertificate(s.ctx, &pb.DeleteCertificateRequest{Name: second.GetName()})
	wantError(t, err, codes.FailedPrecondition, "HAS_CHILDREN", l.GetName())
	_, err = s.certificates().DeleteCertificate(s.ctx, &pb.DeleteCertificateRequest{Name: first.GetName()})
	must(t, err)
}
