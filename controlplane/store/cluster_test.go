package store

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
)

// authority signs the certificates of a test cluster.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir(), pool: x509.NewCertPool()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert, a.key = a.sign(t, "ca", template)
	a.pool.AddCert(a.cert)
	return a
}

// issue makes a certificate for both ends on loopback.
func (a *authority) issue(t *testing.T, name string) {
	t.Helper()
	a.sign(t, name, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	})
}

func (a *authority) sign(t *testing.T, name string, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		".crt": {Type: "CERTIFICATE", Bytes: der},
		".key": {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(filepath.Join(a.dir, name+file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func (a *authority) client(t *testing.T, name string) *tls.Config {
	t.Helper()
	a.issue(t, name)
	cert, err := tls.LoadX509KeyPair(filepath.Join(a.dir, name+".crt"), filepath.Join(a.dir, name+".key"))
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: a.pool, MinVersion: tls.VersionTLS13}
}

// freeURLs gives https URLs on loopback ports that were free a moment ago.
func freeURLs(t *testing.T, n int) []string {
	t.Helper()
	urls := make([]string, n)
	for i := range urls {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		urls[i] = "https://" + l.Addr().String()
	}
	return urls
}

// childMember names the environment variable that makes the test binary a member of a cluster.
const childMember = "CAUSEWAY_STORE_TEST_MEMBER"

// memberConfig is what a member's process is given.
type memberConfig struct {
	Name, Dir, Peer, Client, Initial, Certs string
}

// runMember is a process that is one etcd member, with etcd's own defaults, until it is killed.
func runMember(config string) int {
	var c memberConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	peer, _ := url.Parse(c.Peer)
	client, _ := url.Parse(c.Client)
	cfg := embed.NewConfig()
	cfg.Name, cfg.Dir, cfg.InitialCluster = c.Name, c.Dir, c.Initial
	cfg.LogLevel = "error"
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{*peer}, []url.URL{*peer}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{*client}, []url.URL{*client}
	certs := transport.TLSInfo{
		CertFile:       filepath.Join(c.Certs, c.Name+".crt"),
		KeyFile:        filepath.Join(c.Certs, c.Name+".key"),
		TrustedCAFile:  filepath.Join(c.Certs, "ca.crt"),
		ClientCertAuth: true,
	}
	cfg.PeerTLSInfo, cfg.ClientTLSInfo = certs, certs
	member, err := embed.StartEtcd(cfg)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	<-member.Err()
	return 1
}

// startCluster runs three etcd processes that trust only a's certificates.
func startCluster(t *testing.T, a *authority) (members []*exec.Cmd, endpoints []string) {
	t.Helper()
	peers, endpoints := freeURLs(t, 3), freeURLs(t, 3)
	initial := fmt.Sprintf("m0=%s,m1=%s,m2=%s", peers[0], peers[1], peers[2])
	for i := range peers {
		name := fmt.Sprint("m", i)
		a.issue(t, name)
		config, err := json.Marshal(memberConfig{
			Name: name, Dir: filepath.Join(t.TempDir(), name), Initial: initial,
			Peer: peers[i], Client: endpoints[i], Certs: a.dir,
		})
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childMember+"="+string(config))
		cmd.Stderr = t.Output()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		members = append(members, cmd)
	}
	return members, endpoints
}

// leader gives the index of the member that leads.
func leader(t *testing.T, s *Store, endpoints []string) int {
	t.Helper()
	for i, endpoint := range endpoints {
		status, err := s.client.Status(testContext(t), endpoint)
		if err != nil {
			t.Fatal(err)
		}
		if status.Header.MemberId == status.Leader {
			return i
		}
	}
	t.Fatal("no member leads")
	return 0
}

// TestClusterSurvivesLossOfMember takes the leader away, once killed, so that its connections break,
// and once stopped, so that they stay and nothing answers.
func TestClusterSurvivesLossOfMember(t *testing.T) {
	if testing.Short() {
		t.Skip("runs three servers")
	}
	tests := []struct {
		name   string
		signal syscall.Signal
		most   time.Duration
	}{
		{"killed", syscall.SIGKILL, 8 * time.Second},
		{"stopped", syscall.SIGSTOP, 25 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { loseLeader(t, tt.signal, tt.most) })
	}
}

func loseLeader(t *testing.T, signal syscall.Signal, most time.Duration) {
	a := newAuthority(t)
	members, endpoints := startCluster(t, a)
	ctx := testContext(t)
	cfg := ClusterConfig{Endpoints: endpoints, TLS: a.client(t, "client"), Prefix: "/prod"}
	s := openCluster(t, cfg)
	c := runCache(t, s)
	waitFor(t, c, churn(t, s, 20))

	lost := members[leader(t, s, endpoints)]
	if err := lost.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	var revision int64
	for i := 0; revision == 0; i++ { // a caller retries what is unavailable
		tx := s.Begin()
		things.Create(tx, fmt.Sprint("after/", i), text("x"))
		var err error
		revision, err = tx.Commit(ctx)
		if err != nil && !errors.Is(err, ErrUnavailable) {
			t.Fatal(err)
		}
	}
	written := time.Since(start)
	waitFor(t, c, revision)
	watched := time.Since(start)
	t.Logf("after the loss: first write in %v, seen by the watch in %v", written, watched)
	if watched > most {
		t.Errorf("more than %v", most)
	}

	page, err := things.List(ctx, s, ListOptions{PageSize: 2})
	if err != nil || page.NextPageToken == "" {
		t.Fatalf("list: %v", err)
	}
	other := openCluster(t, cfg)
	if _, err := things.List(ctx, other, ListOptions{PageSize: 2, PageToken: page.NextPageToken}); err != nil {
		t.Errorf("another process does not take the page token: %v", err)
	}
}

// openCluster waits until the cluster is up, which takes its members some seconds.
func openCluster(t *testing.T, cfg ClusterConfig) *Store {
	t.Helper()
	for {
		s, err := OpenCluster(testContext(t), cfg, testLog(t))
		if err == nil {
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			return s
		}
		if !errors.Is(err, ErrUnavailable) {
			t.Fatal(err)
		}
	}
}

func TestClusterRefuses(t *testing.T) {
	if testing.Short() {
		t.Skip("runs three servers")
	}
	a := newAuthority(t)
	_, endpoints := startCluster(t, a)
	good := ClusterConfig{Endpoints: endpoints, TLS: a.client(t, "client")}
	openCluster(t, good)
	with := func(change func(*ClusterConfig)) ClusterConfig {
		cfg := good
		change(&cfg)
		return cfg
	}
	stranger := newAuthority(t)
	tests := []struct {
		name string
		cfg  ClusterConfig
		want error
	}{
		{"OK", good, nil},
		{"bad no endpoints", with(func(c *ClusterConfig) { c.Endpoints = nil }), ErrInvalid},
		{"bad plain text", with(func(c *ClusterConfig) { c.Endpoints = []string{"http://127.0.0.1:1"} }), ErrInvalid},
		{"bad no TLS", with(func(c *ClusterConfig) { c.TLS = nil }), ErrInvalid},
		{"bad prefix", with(func(c *ClusterConfig) { c.Prefix = "/x/" }), ErrInvalid},
		{"bad client certificate", with(func(c *ClusterConfig) {
			c.TLS = stranger.client(t, "client")
			c.TLS.RootCAs = a.pool
		}), context.DeadlineExceeded},
		{"bad server certificate", with(func(c *ClusterConfig) { c.TLS = a.client(t, "x"); c.TLS.RootCAs = stranger.pool }),
			context.DeadlineExceeded},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
			defer cancel()
			s, err := OpenCluster(ctx, tt.cfg, testLog(t))
			if !errors.Is(err, tt.want) {
				t.Errorf("got error %v, want %v", err, tt.want)
			}
			if s != nil {
				s.Close()
			}
		})
	}
}
