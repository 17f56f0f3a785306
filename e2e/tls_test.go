package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"causeway/e2e/lab"
	"causeway/gateway/spec/spectest"
	causewayv1 "causeway/proto/causeway/v1"
)

// TestTLSListener has curl speak TLS with a listener, and then clients that shake hands without a pause
// while the certificate is replaced over and over: none fails, and the newest is shown in the end.
func TestTLSListener(t *testing.T) {
	w := newWorld(t, settings{})
	w.underlay.Nginx(lab.NginxConfig{Listen: w.underlayAddr.String() + ":8080", Body: "orders\n"})
	w.vpc("partner", "10.0.0.0/16")
	w.publish("vpcs/partner", "orders", 80, 8080, w.underlayAddr.String())
	const generations = 20
	var chains, keys [generations]string
	roots := x509.NewCertPool()
	for n := range chains {
		chains[n], keys[n] = spectest.Certificate(t, "orders.example.com")
		roots.AppendCertsFromPEM([]byte(chains[n]))
	}
	w.call("Certificates/CreateCertificate", `{"certificate_id":"orders","certificate":{"certificate_chain":%q,"private_key":%q}}`, chains[0], keys[0])
	w.call("LoadBalancers/CreateListener", `{"parent":"loadBalancers/orders","listener":{"port":443,"protocol":"TLS","target_group":"targetGroups/orders","certificates":["certificates/orders"]}}`)
	w.vpc("prod", "10.0.0.0/16")
	host := w.client("app")
	w.attach(host, "vpcs/prod/subnets/a", "app")
	address := w.endpoint("vpcs/prod", "orders", "endpointServices/orders")

	ca := filepath.Join(w.Dir(), "orders.crt")
	if err := os.WriteFile(ca, []byte(chains[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	out := host.Run("curl", "-sS", "--fail", "--max-time", "10", "--cacert", ca, "--resolve", "orders.example.com:443:"+address, "https://orders.example.com/")
	if out != "orders\n" {
		t.Errorf("curl over TLS got %q", out)
	}

	shake := func() (*x509.Certificate, error) {
		raw, err := host.Dial(w.Context(), "tcp", address+":443")
		if err != nil {
			return nil, err
		}
		defer raw.Close()
		c := tls.Client(raw, &tls.Config{RootCAs: roots, ServerName: "orders.example.com"})
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			return nil, err
		}
		if err := c.Handshake(); err != nil {
			return nil, err
		}
		return c.ConnectionState().PeerCertificates[0], nil
	}
	var shaken atomic.Int64
	stop, failed := make(chan struct{}), make(chan error, 4)
	for range cap(failed) {
		go func() {
			for {
				select {
				case <-stop:
					failed <- nil
					return
				default:
				}
				if _, err := shake(); err != nil {
					failed <- err
					return
				}
				shaken.Add(1)
			}
		}()
	}
	var serial string
	for n := 1; n < generations; n++ {
		before := shaken.Load()
		serial = w.call("Certificates/UpdateCertificate", `{"certificate":{"name":"certificates/orders","certificate_chain":%q,"private_key":%q}}`,
			chains[n], keys[n]).(*causewayv1.Certificate).GetSerialNumber()
		w.Eventually(patience, "handshakes to go on", func() error {
			if now := shaken.Load(); now < before+10 {
				return fmt.Errorf("%d handshakes since the certificate was replaced", now-before)
			}
			return nil
		})
	}
	w.Eventually(patience, "the newest certificate", func() error {
		shown, err := shake()
		if err == nil && shown.SerialNumber.Text(16) != serial {
			err = fmt.Errorf("shown is %s, newest %s", shown.SerialNumber.Text(16), serial)
		}
		return err
	})
	close(stop)
	for range cap(failed) {
		if err := <-failed; err != nil {
			t.Errorf("a handshake failed: %v", err)
		}
	}
	t.Logf("%d handshakes over %d certificates", shaken.Load(), generations)
}
