package controlplane

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	serverLife    = 90 * 24 * time.Hour
	// serverRenewal is how long before its end the server's certificate is replaced.
	serverRenewal = 30 * 24 * time.Hour
	// clockSlack dates certificates back, for clients whose clock is behind.
	clockSlack = time.Hour
)

// authority is the installation's own certification authority, kept in a directory:
//
//	ca.crt      what clients trust
//	ca.key      its private key, 0600
//	server.crt  the API's certificate
//	server.key  its private key, 0600
type authority struct {
	dir   string
	names []string
	now   func() time.Time
	cert  *x509.Certificate
	key   crypto.Signer
}

// openAuthority reads the authority in dir, or makes one. Names are what the server's certificate
// is valid for: DNS names and addresses.
func openAuthority(dir string, names []string, now func() time.Time) (*authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open certification authority: %w", err)
	}
	a := &authority{dir: dir, names: names, now: now}
	// The certificate is written last, so where there is one a lost key is an error: clients trust
	// what no longer signs, and a new authority would not be theirs.
	if _, err := os.Lstat(a.path("ca.crt")); errors.Is(err, fs.ErrNotExist) {
		if err := a.create(); err != nil {
			return nil, fmt.Errorf("make certification authority in %q: %w", dir, err)
		}
		return a, nil
	}
	pair, err := readPair(a.path("ca.crt"), a.path("ca.key"))
	if err == nil {
		err = a.use(pair)
	}
	if err != nil {
		return nil, fmt.Errorf("open certification authority in %q: %w", dir, err)
	}
	return a, nil
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) use(pair *tls.Certificate) error {
	signer, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || !pair.Leaf.IsCA {
		return errors.New("ca.crt is no authority's certificate")
	}
	a.cert, a.key = pair.Leaf, signer
	return nil
}

func (a *authority) create() error {
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "Causeway"},
		NotAfter:              a.now().Add(authorityLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	pair, err := a.issue(template, "ca")
	if err != nil {
		return err
	}
	return a.use(pair)
}

// serverCertificate gives the API's certificate: the one on disk unless it ends soon or lacks a name.
func (a *authority) serverCertificate() (*tls.Certificate, error) {
	pair, err := readPair(a.path("server.crt"), a.path("server.key"))
	if err == nil && a.serves(pair.Leaf) {
		return pair, nil
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: a.names[0]},
		NotAfter:    a.now().Add(serverLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range a.names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	if pair, err = a.issue(template, "server"); err != nil {
		return nil, fmt.Errorf("issue the api's certificate: %w", err)
	}
	return pair, nil
}

// serves tells whether a certificate is of this authority, lasts and has every name.
func (a *authority) serves(leaf *x509.Certificate) bool {
	if leaf.CheckSignatureFrom(a.cert) != nil || a.now().Add(serverRenewal).After(leaf.NotAfter) {
		return false
	}
	for _, name := range a.names {
		if leaf.VerifyHostname(name) != nil {
			return false
		}
	}
	return true
}

// issue signs the template for a new key, by the authority or by itself before there is one, and
// writes both to <name>.crt and <name>.key. The key goes first: a certificate without it is no use.
func (a *authority) issue(template *x509.Certificate, name string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	template.NotBefore = a.now().Add(-clockSlack)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	if err := writeFile(a.path(name+".key"), encodePEM("PRIVATE KEY", secret), 0o600); err != nil {
		return nil, err
	}
	if err := writeFile(a.path(name+".crt"), encodePEM("CERTIFICATE", der), 0o644); err != nil {
		return nil, err
	}
	return readPair(a.path(name+".crt"), a.path(name+".key"))
}

func encodePEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// readPair reads a certificate, with what it is chained by, and its private key.
func readPair(certificate, key string) (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("read certificate %q: %w", certificate, err)
	}
	return &pair, nil
}
