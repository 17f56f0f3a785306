package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"causeway/e2e/lab"
)

const etcdPackage = "go.etcd.io/etcd/server/v3"

// TestExternalEtcd tells the first story on an existing three-node etcd cluster over mutual TLS.
// One node is killed in the middle, and nothing else changes.
func TestExternalEtcd(t *testing.T) {
	var nodes []*lab.Process
	prepare := func(w *world, s *settings) {
		nodes = w.startEtcd()
		dir := w.Dir()
		s.store = fmt.Sprintf("store:\n  endpoints: [%s]\n  ca: %s\n  certificate: %s\n  key: %s\n", strings.Join(etcdURLs(0), ", "),
			filepath.Join(dir, "etcd-ca.pem"), filepath.Join(dir, "etcd.pem"), filepath.Join(dir, "etcd-key.pem"))
	}
	w := newWorld(t, settings{prepare: prepare})
	w.underlay.Nginx(lab.NginxConfig{Listen: w.underlayAddr.String() + ":8080", Body: "orders\n"})
	g := grpcurl{w, []string{"-unix", "-plaintext"}, w.socket}
	g.tell("", "prod", "partner")
	nodes[0].Kill()
	g.tell("2", "prod2", "partner2")
	w.daemon.Kill()
	w.daemon.Restart()
	g.tell("3", "prod3", "partner3")
	if _, err := os.Stat(filepath.Join(w.Dir(), "data", "store")); err == nil {
		t.Error("an embedded store was made beside the external one")
	}
}

// etcdAddr is the address all three nodes have in the etcd host.
var etcdAddr = netip.MustParseAddr("10.252.0.2")

// etcdURLs are the nodes' client (0) or peer (1) addresses.
func etcdURLs(kind int) []string {
	urls := make([]string, 3)
	for i := range urls {
		urls[i] = fmt.Sprintf("https://%s:%d", etcdAddr, 2379+100*i+kind)
	}
	return urls
}

// startEtcd runs three nodes in a host next to the gateway.
func (w *world) startEtcd() []*lab.Process {
	w.t.Helper()
	host := w.Host("etcd")
	w.Connect(w.gateway, host, netip.MustParsePrefix("10.252.0.0/24"))
	writeCertificates(w.t, w.Dir())
	clients, peers := etcdURLs(0), etcdURLs(1)
	members := make([]string, len(peers))
	for i, url := range peers {
		members[i] = fmt.Sprintf("node%d=%s", i, url)
	}
	file := func(name string) string { return filepath.Join(w.Dir(), name) }
	nodes := make([]*lab.Process, len(clients))
	for i := range nodes {
		nodes[i] = host.Start(w.Program(etcdPackage),
			"--name", fmt.Sprintf("node%d", i), "--data-dir", file(fmt.Sprintf("node%d", i)), "--log-level", "error",
			"--listen-client-urls", clients[i], "--advertise-client-urls", clients[i],
			"--listen-peer-urls", peers[i], "--initial-advertise-peer-urls", peers[i],
			"--initial-cluster", strings.Join(members, ","), "--max-txn-ops", "1024",
			"--client-cert-auth", "--trusted-ca-file", file("etcd-ca.pem"), "--cert-file", file("etcd.pem"), "--key-file", file("etcd-key.pem"),
			"--peer-client-cert-auth", "--peer-trusted-ca-file", file("etcd-ca.pem"), "--peer-cert-file", file("etcd.pem"), "--peer-key-file", file("etcd-key.pem"))
	}
	for i, node := range nodes {
		node.WaitListening(netip.AddrPortFrom(etcdAddr, uint16(2379+100*i)), patience)
	}
	return nodes
}

// writeCertificates makes a CA, and a certificate of it that serves and connects.
func writeCertificates(t *testing.T, dir string) {
	t.Helper()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "etcd test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "etcd"}, IPAddresses: []net.IP{etcdAddr.AsSlice()},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	caKey, leafKey := newECKey(t), newECKey(t)
	writePEM(t, filepath.Join(dir, "etcd-ca.pem"), "CERTIFICATE", sign(t, ca, ca, caKey, caKey))
	writePEM(t, filepath.Join(dir, "etcd.pem"), "CERTIFICATE", sign(t, leaf, ca, leafKey, caKey))
	der, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, filepath.Join(dir, "etcd-key.pem"), "PRIVATE KEY", der)
}

func newECKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t *testing.T, cert, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}
