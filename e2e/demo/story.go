package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"causeway/e2e/userspace"
	causewayv1 "causeway/proto/causeway/v1"
)

const (
	// limitMbps is the zone budget of the second endpoint.
	limitMbps = 40
	// measured is how long the budget is watched.
	measured = 4 * time.Second
	greeting = "hello from a private service\n"
)

// story creates two VPCs, a service in one and its consumers in the other.
type story struct {
	api     *api
	site    *userspace.Peer
	closers []func()
}

func (s *story) close() {
	for _, c := range s.closers {
		c()
	}
}

// tell runs the chapters in order.
func (s *story) tell(ctx context.Context) error {
	for _, chapter := range []func(context.Context) error{s.provide, s.connectSite, s.fetch, s.limit, s.nothingElse} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	return nil
}

// all does several calls in order.
func (s *story) all(ctx context.Context, calls ...[2]string) error {
	for _, c := range calls {
		if err := s.api.do(ctx, c[0], c[1]); err != nil {
			return err
		}
	}
	return nil
}

// provide makes the partner's VPC with a workload that serves HTTP, and publishes it as a service.
func (s *story) provide(ctx context.Context) error {
	say("A partner publishes a service that runs in its own VPC")
	key, err := wgtypes.GeneratePrivateKey()
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	if err := s.all(ctx,
		[2]string{"Vpcs/CreateVpc", `{"vpc_id":"partner","vpc":{"region":"us-east-1","cidr_block":"10.0.0.0/16"}}`},
		[2]string{"Vpcs/CreateSubnet", `{"parent":"vpcs/partner","subnet_id":"a","subnet":{"availability_zone":"us-east-1a","cidr_block":"10.0.1.0/24"}}`},
		[2]string{"Vpcs/CreateAttachment", fmt.Sprintf(`{"parent":"vpcs/partner/subnets/a","attachment_id":"web","attachment":{"public_key":%q}}`, key.PublicKey())},
	); err != nil {
		return err
	}
	web, err := await(ctx, s.api, "Vpcs/GetAttachment", "vpcs/partner/subnets/a/attachments/web",
		func(a *causewayv1.Attachment) bool { return a.GetState() == causewayv1.Attachment_AVAILABLE })
	if err != nil {
		return err
	}
	if err := s.serve(key, web); err != nil {
		return err
	}
	return s.all(ctx,
		[2]string{"LoadBalancers/CreateTargetGroup", `{"target_group_id":"web","target_group":{"vpc":"vpcs/partner","port":80,"health_check":{"interval":"5s","timeout":"2s"}}}`},
		[2]string{"LoadBalancers/RegisterTargets", fmt.Sprintf(`{"name":"targetGroups/web","targets":[{"ip_address":%q}]}`, web.GetIpAddress())},
		[2]string{"LoadBalancers/CreateLoadBalancer", `{"load_balancer_id":"web","load_balancer":{"subnets":["vpcs/partner/subnets/a"]}}`},
		[2]string{"LoadBalancers/CreateListener", `{"parent":"loadBalancers/web","listener":{"port":80,"protocol":"TCP","target_group":"targetGroups/web"}}`},
		[2]string{"EndpointServices/CreateEndpointService", `{"endpoint_service_id":"web","endpoint_service":{"load_balancers":["loadBalancers/web"],"acceptance_required":false}}`},
	)
}

// serve runs the sample HTTP service on the workload: a greeting, and an endless body.
func (s *story) serve(key wgtypes.Key, web *causewayv1.Attachment) error {
	workload, err := userspace.Connect(key, web.GetIpAddress(), web.GetGateway(), conn.NewDefaultBind())
	if err != nil {
		return err
	}
	s.closers = append(s.closers, workload.Close)
	listener, err := workload.Net.ListenTCP(&net.TCPAddr{Port: 80})
	if err != nil {
		return fmt.Errorf("listen on the workload: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%sseen from %s\n", greeting, r.RemoteAddr)
	})
	mux.HandleFunc("/endless", func(w http.ResponseWriter, _ *http.Request) {
		for block := make([]byte, 64<<10); ; {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	s.closers = append(s.closers, func() { _ = server.Close() })
	go func() { _ = server.Serve(listener) }()
	return nil
}

// connectSite makes the consumer's VPC, joins an on-premises site to it and makes the endpoints.
func (s *story) connectSite(ctx context.Context) error {
	say("A consumer with the very same addresses joins its on-premises site and makes endpoints")
	key, err := wgtypes.GeneratePrivateKey()
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	if err := s.all(ctx,
		[2]string{"Vpcs/CreateVpc", `{"vpc_id":"prod","vpc":{"region":"us-east-1","cidr_block":"10.0.0.0/16"}}`},
		[2]string{"Vpcs/CreateSubnet", `{"parent":"vpcs/prod","subnet_id":"a","subnet":{"availability_zone":"us-east-1a","cidr_block":"10.0.1.0/24"}}`},
		[2]string{"VpnConnections/CreateCustomerGateway", fmt.Sprintf(`{"customer_gateway_id":"office","customer_gateway":{"public_key":%q}}`, key.PublicKey())},
		[2]string{"VpnConnections/CreateVpnConnection", `{"vpn_connection_id":"office","vpn_connection":{"vpc":"vpcs/prod","customer_gateway":"customerGateways/office","static_routes":["192.168.50.0/24"]}}`},
		[2]string{"Endpoints/CreateEndpoint", `{"parent":"vpcs/prod","endpoint_id":"web","endpoint":{"service_name":"endpointServices/web","subnets":["vpcs/prod/subnets/a"]}}`},
		[2]string{"Endpoints/CreateEndpoint", fmt.Sprintf(`{"parent":"vpcs/prod","endpoint_id":"slow","endpoint":{"service_name":"endpointServices/web","subnets":["vpcs/prod/subnets/a"],"bandwidth":{"baseline_mbps":%d,"maximum_mbps":%d}}}`, limitMbps, limitMbps)},
	); err != nil {
		return err
	}
	vpn, err := await(ctx, s.api, "VpnConnections/GetVpnConnection", "vpnConnections/office",
		func(v *causewayv1.VpnConnection) bool { return v.GetState() == causewayv1.VpnConnection_AVAILABLE })
	if err != nil {
		return err
	}
	s.site, err = userspace.Connect(key, "192.168.50.10", vpn.GetTunnels()[0].GetGateway(), conn.NewDefaultBind())
	if err != nil {
		return err
	}
	s.closers = append(s.closers, s.site.Close)
	return nil
}

// fetch gets the greeting through the endpoint IP.
func (s *story) fetch(ctx context.Context) error {
	address, err := s.endpointIP(ctx, "web")
	if err != nil {
		return err
	}
	say("The site fetches http://%s/ through its tunnel and the endpoint", address)
	resp, err := s.get(ctx, "http://"+address+"/")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if !strings.HasPrefix(string(body), greeting) {
		return fmt.Errorf("unexpected answer %q", body)
	}
	fmt.Printf("  %s\n", strings.ReplaceAll(strings.TrimSpace(string(body)), "\n", "\n  "))
	return nil
}

// limit downloads through the endpoint with the low budget and compares.
func (s *story) limit(ctx context.Context) error {
	address, err := s.endpointIP(ctx, "slow")
	if err != nil {
		return err
	}
	say("The zone budget of the second endpoint, %d Mbit/s, under a download for %v", limitMbps, measured)
	resp, err := s.get(ctx, "http://"+address+"/endless")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	// The first second's bytes are not counted: the receive window fills at once.
	if _, err := io.CopyN(io.Discard, resp.Body, limitMbps*1e6/8); err != nil {
		return fmt.Errorf("download: %w", err)
	}
	start, total := time.Now(), int64(0)
	for time.Since(start) < measured {
		n, err := io.CopyN(io.Discard, resp.Body, 64<<10)
		if total += n; err != nil {
			return fmt.Errorf("download: %w", err)
		}
	}
	rate := float64(total) * 8 / 1e6 / time.Since(start).Seconds()
	fmt.Printf("  measured %.1f Mbit/s\n", rate)
	if rate > limitMbps*1.1 || rate < limitMbps*0.8 {
		return fmt.Errorf("the budget of %d Mbit/s does not hold: %.1f Mbit/s", limitMbps, rate)
	}
	return s.all(ctx, [2]string{"Endpoints/GetEndpoint", `{"name":"vpcs/prod/endpoints/slow"}`})
}

// nothingElse shows that only endpoints answer.
func (s *story) nothingElse(ctx context.Context) error {
	say("Nothing answers on an address that is no endpoint: 10.0.1.200")
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	c, err := s.site.Net.DialContext(ctx, "tcp", "10.0.1.200:80")
	if err == nil {
		_ = c.Close()
		return errors.New("an address without an endpoint accepted a connection")
	}
	fmt.Println("  no answer")
	return nil
}

func (s *story) get(ctx context.Context, url string) (*http.Response, error) {
	client := &http.Client{Transport: &http.Transport{DialContext: s.site.Net.DialContext, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("make a request: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	return resp, nil
}

func (s *story) endpointIP(ctx context.Context, id string) (string, error) {
	ep, err := await(ctx, s.api, "Endpoints/GetEndpoint", "vpcs/prod/endpoints/"+id,
		func(e *causewayv1.Endpoint) bool { return e.GetState() == causewayv1.Endpoint_AVAILABLE })
	if err != nil {
		return "", err
	}
	return ep.GetNetworkInterfaces()[0].GetIpAddress(), nil
}
