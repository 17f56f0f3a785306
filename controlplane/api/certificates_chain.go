package api

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "causeway/proto/causeway/v1"
)

const (
	maxChain   = 10
	minRSABits = 2048
	maxRSABits = 4096
)

// readChain reads a chain of certificates, each signed by the next, and notes what is wrong with it.
func (c *change) readChain(text string) []*x509.Certificate {
	field := c.path("certificate_chain")
	var chain []*x509.Certificate
	rest := []byte(text)
	for len(strings.TrimSpace(string(rest))) > 0 {
		block, after := pem.Decode(rest)
		n := len(chain) + 1
		switch {
		case block == nil:
			c.wrong.Add(field, "has something else than PEM blocks after %d certificates", len(chain))
			return nil
		case block.Type != "CERTIFICATE":
			c.wrong.Add(field, "has a block %s as number %d; only CERTIFICATE blocks belong there", quote(block.Type), n)
			return nil
		case n > maxChain:
			c.wrong.Add(field, "has more than %d certificates", maxChain)
			return nil
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			c.wrong.Add(field, "has a block, number %d, that is no certificate", n)
			return nil
		}
		if n > 1 && chain[n-2].CheckSignatureFrom(cert) != nil {
			c.wrong.Add(field, "is out of order: certificate %d is not signed by certificate %d", n-1, n)
			return nil
		}
		chain, rest = append(chain, cert), after
	}
	if len(chain) == 0 {
		c.wrong.Add(field, "has no certificate in PEM form")
	}
	return chain
}

// checkKey notes what is wrong with the private key of a chain's first certificate. Nothing of a key gets
// into a message.
func (c *change) checkKey(chain []*x509.Certificate, text string) {
	field := c.path("private_key")
	block, rest := pem.Decode([]byte(text))
	if block == nil || len(strings.TrimSpace(string(rest))) > 0 {
		c.wrong.Add(field, "must be one PEM block of type PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY, and nothing else")
		return
	}
	key := parseKey(block.Bytes)
	if key == nil {
		c.wrong.Add(field, "is no private key in PKCS #8, PKCS #1 or SEC 1 form without a password")
		return
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		if bits := key.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			c.wrong.Add(field, "is an RSA key of %d bits; %d to %d are accepted", bits, minRSABits, maxRSABits)
		}
	case *ecdsa.PrivateKey:
		if key.Curve == elliptic.P224() {
			c.wrong.Add(field, "is an ECDSA key on P-224; P-256, P-384 and P-521 are accepted")
		}
	case ed25519.PrivateKey:
	default:
		c.wrong.Add(field, "is of a kind that TLS cannot use here; RSA, ECDSA and Ed25519 are accepted")
		return
	}
	if len(chain) > 0 && !sameKey(chain[0].PublicKey, key.(crypto.Signer).Public()) {
		c.wrong.Add(field, "is not that of the first certificate in certificate_chain")
	}
}

func parseKey(der []byte) crypto.PrivateKey {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return key
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key
	}
	return nil
}

func sameKey(a, b crypto.PublicKey) bool {
	comparable, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && comparable.Equal(b)
}

// describe fills in what a certificate says of itself.
func describe(m *pb.Certificate, leaf *x509.Certificate) {
	m.SubjectNames = append([]string{}, leaf.DNSNames...)
	for _, ip := range leaf.IPAddresses {
		m.SubjectNames = append(m.SubjectNames, ip.String())
	}
	m.Issuer = leaf.Issuer.String()
	m.SerialNumber = leaf.SerialNumber.Text(16)
	sum := sha256.Sum256(leaf.Raw)
	m.Fingerprint = hex.EncodeToString(sum[:])
	m.NotBeforeTime, m.NotAfterTime = timestamppb.New(leaf.NotBefore), timestamppb.New(leaf.NotAfter)
}
