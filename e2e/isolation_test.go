package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.zx2c4.com/wireguard/conn"

	"causeway/e2e/lab"
	"causeway/e2e/userspace"
	causewayv1 "causeway/proto/causeway/v1"
)

// TestEqualAddresses lets two VPCs of identical range hold identical connections at the same time:
// same client address and port, same endpoint IP and port. Each reaches only its own service.
func TestEqualAddresses(t *testing.T) {
	w := newWorld(t, settings{})
	var conns [2]net.Conn
	var tuples [2]string
	for i, name := range []string{"one", "two"} {
		listen := fmt.Sprintf("%s:%d", w.underlayAddr, 8081+i)
		w.underlay.Nginx(lab.NginxConfig{Listen: listen, Body: name + "\n"})
		w.vpc(name, "10.0.0.0/16")
		w.publish("vpcs/"+name, name, 80, 8081+i, w.underlayAddr.String())
		host := w.client(name)
		app, _ := w.attach(host, "vpcs/"+name+"/subnets/a", "app")
		address := w.endpoint("vpcs/"+name, "web", "endpointServices/"+name)
		local := &net.TCPAddr{IP: net.ParseIP(app.GetIpAddress()), Port: 40000}
		ctx, cancel := context.WithTimeout(w.Context(), patience)
		defer cancel()
		c, err := host.DialFrom(ctx, local, "tcp", address+":80")
		if err != nil {
			t.Fatalf("dial %s from %s in VPC %s: %v", address, local, name, err)
		}
		defer c.Close()
		conns[i], tuples[i] = c, c.LocalAddr().String()+" to "+c.RemoteAddr().String()
	}
	if tuples[0] != tuples[1] {
		t.Fatalf("the connections differ: %s and %s; the story needs equal ones", tuples[0], tuples[1])
	}
	for range 3 {
		for i, want := range []string{"one", "two"} {
			if got := ask(t, conns[i]); got != want {
				t.Fatalf("the service of VPC %s answers %q", want, got)
			}
		}
	}
}

// ask sends a request on an open connection and returns the answer's body.
func ask(t *testing.T, c net.Conn) string {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: service\r\n\r\n"); err != nil {
		t.Fatalf("send a request: %v", err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("read the answer: %v", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("read the answer: %v", err)
	}
	return strings.TrimSpace(string(body))
}

// TestManyEqualVPCs runs 64 VPCs of identical range in one gateway, each with its own service and a
// client that holds the same address; all clients talk at the same time.
func TestManyEqualVPCs(t *testing.T) {
	const vpcs = 64
	w := newWorld(t, settings{})
	for _, quota := range []string{"load-balancers", "endpoint-services"} {
		w.call("Accounts/UpdateQuota", `{"quota":{"name":"accounts/default/quotas/%s","value":%d}}`, quota, vpcs)
	}
	var clients errgroup.Group
	for i := range vpcs {
		name := fmt.Sprintf("vpc-%d", i)
		listener, err := w.underlay.Listen(w.Context(), "tcp", fmt.Sprintf("%s:%d", w.underlayAddr, 9000+i))
		if err != nil {
			t.Fatal(err)
		}
		serveName(t, listener, name)
		w.vpc(name, "10.0.0.0/16")
		w.publish("vpcs/"+name, name, 80, 9000+i, w.underlayAddr.String())
		key := w.NewKey()
		attachment := "vpcs/" + name + "/subnets/a/attachments/app"
		w.call("Vpcs/CreateAttachment", `{"parent":"vpcs/%s/subnets/a","attachment_id":"app","attachment":{"public_key":%q}}`, name, key.PublicKey())
		address := w.endpoint("vpcs/"+name, "web", "endpointServices/"+name)
		app := await(w, "Vpcs/GetAttachment", attachment, func(a *causewayv1.Attachment) bool { return a.GetState() == causewayv1.Attachment_AVAILABLE })
		if app.GetIpAddress() != "10.0.0.5" || address != "10.0.0.6" {
			t.Fatalf("client %s and endpoint %s: want 10.0.0.5 and 10.0.0.6 in every VPC", app.GetIpAddress(), address)
		}
		peer, err := userspace.Connect(key, app.GetIpAddress(), app.GetGateway(), hostBind{conn.NewDefaultBind(), w.gateway})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(peer.Close)
		clients.Go(func() error { return askOften(w.Context(), peer, address, name) })
	}
	if err := clients.Wait(); err != nil {
		t.Fatal(err)
	}
}

// hostBind opens its sockets in a host, whichever goroutine of the device asks for them.
type hostBind struct {
	conn.Bind
	host *lab.Host
}

func (b hostBind) Open(port uint16) (receive []conn.ReceiveFunc, actual uint16, err error) {
	err = b.host.Do(func() error {
		receive, actual, err = b.Bind.Open(port)
		return err
	})
	return receive, actual, err
}

// serveName answers every connection with a name until the test ends.
func serveName(t *testing.T, listener net.Listener, name string) {
	t.Helper()
	server := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(rw, name)
	}), ReadHeaderTimeout: patience}
	t.Cleanup(func() { _ = server.Close() })
	go func() { _ = server.Serve(listener) }()
}

// askOften fetches a few times over new connections; every answer must be want.
func askOften(ctx context.Context, peer *userspace.Peer, address, want string) error {
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DialContext: peer.Net.DialContext, DisableKeepAlives: true}}
	for range 20 {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/", nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return fmt.Errorf("client of %s: %w", want, err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			return fmt.Errorf("client of %s: %w", want, err)
		}
		if string(body) != want {
			return fmt.Errorf("client of %s reached the service of %s", want, body)
		}
	}
	return nil
}
