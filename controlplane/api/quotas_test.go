package api

import (
	"fmt"
	"strconv"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"causeway/controlplane/resource"
	"causeway/gateway/spec/spectest"
	pb "causeway/proto/causeway/v1"
)

// setQuota gives an account another value of a quota.
func (l *lab) setQuota(account, id string, value int32) {
	l.t.Helper()
	_, err := l.accounts().UpdateQuota(l.operator(), &pb.UpdateQuotaRequest{Quota: &pb.Quota{Name: quotaName(account, id), Value: &value}})
	must(l.t, err)
}

// quotaCase uses up a quota.
type quotaCase struct {
	// standard is the quota's default, have how much of it the prepared shop uses.
	standard int32
	have     int
	// prepare makes what add needs, and add uses one more: the n-th. A quota without add is of a number
	// that a request has, which set asks for.
	prepare func(s *shop)
	add     func(s *shop, n int) error
	set     func(s *shop, n int) error
	// scope is what the error names, below the shop's account; empty is the account itself.
	scope string
}

func id(n int) string { return "n" + strconv.Itoa(n) }

// offerOrders prepares what services and endpoints need.
func offerOrders(s *shop) { s.offer("a") }

func manyVpcs(s *shop) {
	for n := range 20 {
		s.vpc(s.b, id(n), fmt.Sprintf("10.%d.0.0/16", 20+n))
	}
}

func (s *shop) manyGroups() {
	for n := range 6 {
		must(s.t, errOf(s.group(s.a, "vpcs/prod", id(n))))
	}
}

func groupNames(n int) []string {
	var names []string
	for g := range n {
		names = append(names, "vpcs/prod/securityGroups/"+id(g))
	}
	return names
}

func addCustomerGateway(s *shop, n int) error {
	_, err := s.vpns().CreateCustomerGateway(s.ctx, &pb.CreateCustomerGatewayRequest{
		CustomerGatewayId: id(n), CustomerGateway: &pb.CustomerGateway{PublicKey: newKey()}})
	return err
}

var quotaCases = map[string]quotaCase{
	"attachments-per-vpc": {standard: 5000, scope: "vpcs/prod", add: func(s *shop, n int) error {
		_, err := s.vpcs().CreateAttachment(s.ctx, &pb.CreateAttachmentRequest{
			Parent: "vpcs/prod/subnets/" + []string{"a", "b"}[n%2], AttachmentId: id(n), Attachment: &pb.Attachment{PublicKey: newKey()}})
		return err
	}},
	"certificates": {standard: 100, add: func(s *shop, n int) error {
		chain, key := spectest.Certificate(s.t, id(n)+".example.com")
		_, err := s.certificates().CreateCertificate(s.ctx, &pb.CreateCertificateRequest{
			CertificateId: id(n), Certificate: &pb.Certificate{CertificateChain: chain, PrivateKey: key}})
		return err
	}},
	"customer-gateways": {standard: 50, add: addCustomerGateway},
	"endpoint-services": {standard: 50, prepare: func(s *shop) {
		for n := range 20 {
			_, err := s.loadBalancer(id(n), "vpcs/partner/subnets/a")
			must(s.t, err)
		}
	}, add: func(s *shop, n int) error {
		_, err := s.service(id(n), "loadBalancers/"+id(n))
		return err
	}},
	"endpoints-per-vpc": {standard: 50, scope: "vpcs/prod", prepare: offerOrders, add: func(s *shop, n int) error {
		_, err := s.endpoint(id(n), "a")
		return err
	}},
	"listeners-per-load-balancer": {standard: 50, scope: "loadBalancers/orders", prepare: func(s *shop) {
		_, err := s.loadBalancer("orders", "vpcs/partner/subnets/a")
		must(s.t, err)
		s.targetGroup("orders", "vpcs/partner")
	}, add: func(s *shop, n int) error {
		_, err := s.listener("loadBalancers/orders", int32(n+1), "targetGroups/orders")
		return err
	}},
	"load-balancers": {standard: 50, add: func(s *shop, n int) error {
		_, err := s.loadBalancer(id(n), "vpcs/partner/subnets/a")
		return err
	}},
	"network-acls-per-vpc": {standard: 200, have: 1, scope: "vpcs/prod", add: func(s *shop, n int) error {
		return errOf(s.networkACL("vpcs/prod", id(n)))
	}},
	"notifications-per-service": {standard: 10, scope: "endpointServices/orders", prepare: offerOrders, add: func(s *shop, n int) error {
		_, err := s.notification(id(n), hook)
		return err
	}},
	"outstanding-peerings": {standard: 25, prepare: manyVpcs, add: func(s *shop, n int) error {
		_, err := s.peer(id(n), s.full("vpcs/partner"), "accounts/"+s.b+"/vpcs/"+id(n))
		return err
	}},
	"peerings-per-vpc": {standard: 50, scope: "vpcs/partner", prepare: manyVpcs, add: func(s *shop, n int) error {
		own, other := s.full("vpcs/partner"), "accounts/"+s.b+"/vpcs/"+id(n)
		if n%2 == 0 {
			_, err := s.peer(id(n), own, other)
			return err
		}
		// The other asks; nothing counts until the answer.
		p, err := s.peer(id(n), other, own)
		if err == nil {
			_, err = s.peerings().AcceptPeering(s.ctx, &pb.AcceptPeeringRequest{Name: p.GetName()})
		}
		return err
	}},
	"principals-per-service": {standard: 1000, scope: "endpointServices/orders", prepare: offerOrders, add: func(s *shop, n int) error {
		_, err := s.svc.AddPrincipals(s.ctx, &pb.AddPrincipalsRequest{Name: "endpointServices/orders", Principals: []string{"accounts/" + id(n)}})
		return err
	}},
	"resolver-endpoints-per-vpc": {standard: 4, scope: "vpcs/prod", add: func(s *shop, n int) error {
		_, err := s.inbound(id(n), "a")
		return err
	}},
	"resolver-rules-per-vpc": {standard: 100, scope: "vpcs/prod", add: func(s *shop, n int) error {
		_, err := s.forward(id(n), id(n)+".example.net", server("192.168.7.53"))
		return err
	}},
	"rules-per-network-acl": {standard: 20, have: 1, scope: "vpcs/prod/networkAcls/default", set: func(s *shop, n int) error {
		var rules []*pb.NetworkAclRule
		for r := range n {
			rules = append(rules, aclRule(int32(r+1), "all", "10.0.0.0/8", -1, 0))
		}
		return errOf(s.vpcs().UpdateNetworkAcl(s.ctx, &pb.UpdateNetworkAclRequest{NetworkAcl: &pb.NetworkAcl{
			Name: "vpcs/prod/networkAcls/default", EgressRules: rules}}))
	}},
	"rules-per-security-group": {standard: 60, scope: "vpcs/prod/securityGroups/g", prepare: func(s *shop) {
		must(s.t, errOf(s.group(s.a, "vpcs/prod", "g")))
	}, set: func(s *shop, n int) error {
		var rules []*pb.SecurityGroupRule
		for r := range n {
			rules = append(rules, admits("tcp", "10.0.0.0/8", int32(r), int32(r)))
		}
		return errOf(s.regroup(s.a, "vpcs/prod/securityGroups/g", rules...))
	}},
	"security-groups-per-attachment": {standard: 5, scope: "vpcs/prod/subnets/a/attachments/app", prepare: func(s *shop) {
		s.manyGroups()
		must(s.t, errOf(s.vpcs().CreateAttachment(s.ctx, &pb.CreateAttachmentRequest{
			Parent: "vpcs/prod/subnets/a", AttachmentId: "app", Attachment: &pb.Attachment{PublicKey: newKey()}})))
	}, set: func(s *shop, n int) error {
		return errOf(s.vpcs().UpdateAttachment(s.ctx, &pb.UpdateAttachmentRequest{Attachment: &pb.Attachment{
			Name: "vpcs/prod/subnets/a/attachments/app", SecurityGroups: groupNames(n)}}))
	}},
	"security-groups-per-endpoint": {standard: 5, scope: "vpcs/prod/endpoints/e", prepare: func(s *shop) {
		s.manyGroups()
		s.offer("a")
		must(s.t, errOf(s.endpoint("e", "a")))
	}, set: func(s *shop, n int) error {
		return errOf(s.eps.UpdateEndpoint(s.ctx, &pb.UpdateEndpointRequest{Endpoint: &pb.Endpoint{
			Name: "vpcs/prod/endpoints/e", SecurityGroups: groupNames(n)}}))
	}},
	"security-groups-per-vpc": {standard: 500, scope: "vpcs/prod", add: func(s *shop, n int) error {
		return errOf(s.group(s.a, "vpcs/prod", id(n)))
	}},
	"static-routes-per-vpn-connection": {standard: 100, scope: "vpnConnections/office", have: 1, prepare: func(s *shop) {
		_, err := s.vpns().CreateCustomerGateway(s.ctx, &pb.CreateCustomerGatewayRequest{
			CustomerGatewayId: "office", CustomerGateway: &pb.CustomerGateway{PublicKey: newKey()}})
		must(s.t, err)
		_, err = s.vpns().CreateVpnConnection(s.ctx, &pb.CreateVpnConnectionRequest{VpnConnectionId: "office", VpnConnection: &pb.VpnConnection{
			Vpc: "vpcs/prod", CustomerGateway: "customerGateways/office", StaticRoutes: []string{"192.168.0.0/24"}}})
		must(s.t, err)
	}, set: func(s *shop, n int) error {
		var routes []string
		for r := range n {
			routes = append(routes, fmt.Sprintf("192.168.%d.0/24", r))
		}
		_, err := s.vpns().UpdateVpnConnection(s.ctx, &pb.UpdateVpnConnectionRequest{VpnConnection: &pb.VpnConnection{
			Name: "vpnConnections/office", StaticRoutes: routes}})
		return err
	}},
	"subnets-per-vpc": {standard: 200, scope: "vpcs/prod", have: 3, add: func(s *shop, n int) error {
		_, err := s.vpcs().CreateSubnet(s.ctx, &pb.CreateSubnetRequest{Parent: "vpcs/prod", SubnetId: id(n),
			Subnet: &pb.Subnet{AvailabilityZone: "us-east-1a", CidrBlock: fmt.Sprintf("10.0.%d.0/24", 100+n)}})
		return err
	}},
	"target-groups": {standard: 3000, add: func(s *shop, n int) error {
		_, err := s.lbs.CreateTargetGroup(s.ctx, &pb.CreateTargetGroupRequest{TargetGroupId: id(n), TargetGroup: &pb.TargetGroup{Vpc: "vpcs/prod", Port: 80}})
		return err
	}},
	"targets-per-group": {standard: 1000, scope: "targetGroups/orders", prepare: func(s *shop) {
		s.targetGroup("orders", "vpcs/partner")
	}, add: func(s *shop, n int) error {
		_, err := s.register("targetGroups/orders", at(fmt.Sprintf("10.77.0.%d", n+1), 0))
		return err
	}},
	"tokens": {standard: 100, add: func(s *shop, n int) error {
		_, err := s.accounts().CreateToken(s.ctx, &pb.CreateTokenRequest{TokenId: id(n), Token: &pb.Token{Role: pb.Token_VIEWER}})
		return err
	}},
	"vpcs": {standard: 100, have: 3, add: func(s *shop, n int) error {
		_, err := s.vpcs().CreateVpc(s.ctx, &pb.CreateVpcRequest{VpcId: id(n), Vpc: &pb.Vpc{Region: "us-east-1", CidrBlock: "10.0.0.0/16"}})
		return err
	}},
	"vpn-connections": {standard: 50, prepare: func(s *shop) {
		for n := range 20 {
			must(s.t, addCustomerGateway(s, n))
		}
	}, add: func(s *shop, n int) error {
		_, err := s.vpns().CreateVpnConnection(s.ctx, &pb.CreateVpnConnectionRequest{VpnConnectionId: id(n), VpnConnection: &pb.VpnConnection{
			Vpc: "vpcs/prod", CustomerGateway: "customerGateways/" + id(n), StaticRoutes: []string{fmt.Sprintf("192.168.%d.0/24", n)}}})
		return err
	}},
	"zone-bandwidth-maximum-mbps": {standard: 40_000, scope: "vpcs/prod/endpoints/e", have: 100, prepare: func(s *shop) {
		s.offer("a")
		_, err := s.create("vpcs/prod", "e", &pb.Endpoint{ServiceName: "endpointServices/orders", Subnets: []string{"vpcs/prod/subnets/a"},
			Bandwidth: &pb.Bandwidth{BaselineMbps: 100, MaximumMbps: 100}})
		must(s.t, err)
	}, set: func(s *shop, n int) error {
		_, err := s.eps.UpdateEndpoint(s.ctx, &pb.UpdateEndpointRequest{Endpoint: &pb.Endpoint{
			Name: "vpcs/prod/endpoints/e", Bandwidth: &pb.Bandwidth{MaximumMbps: int32(n)}}})
		return err
	}},
}

// TestQuotas uses up every quota, with many callers at once, and asks for one more.
func TestQuotas(t *testing.T) {
	for _, q := range quotas {
		t.Run(q.id, func(t *testing.T) {
			tc, known := quotaCases[q.id]
			if !known {
				t.Fatal("a quota without a case in quotaCases")
			}
			if q.standard != tc.standard {
				t.Errorf("the default is %d, want %d", q.standard, tc.standard)
			}
			s := newShop(t)
			if tc.prepare != nil {
				tc.prepare(s)
			}
			const room = 4
			limit := int32(tc.have + room)
			s.setQuota(s.a, q.id, limit)
			if tc.set != nil {
				must(t, tc.set(s, int(limit)))
				s.wantExceeded(tc.set(s, int(limit)+1), q, tc.scope, limit)
				s.setQuota(s.a, q.id, limit+1)
				must(t, tc.set(s, int(limit)+1))
				return
			}
			counts := atOnce(3*room, func(n int) error { return tc.add(s, n) })
			wantCounts(t, counts, map[codes.Code]int{codes.OK: room, codes.ResourceExhausted: 2 * room})
			s.wantExceeded(tc.add(s, 3*room), q, tc.scope, limit)
			s.setQuota(s.a, q.id, limit+1)
			must(t, tc.add(s, 3*room+1))
			s.wantExceeded(tc.add(s, 3*room+2), q, tc.scope, limit+1)
			if q.per == resource.Accounts.Info {
				got, err := s.accounts().GetQuota(s.ctx, &pb.GetQuotaRequest{Name: "quotas/" + q.id})
				must(t, err)
				if got.GetUsed() != limit+1 || got.GetValue() != limit+1 || got.GetDefaultValue() != tc.standard {
					t.Errorf("full quota shows %v", got)
				}
			}
		})
	}
	if len(quotaCases) != len(quotas) {
		t.Errorf("%d cases for %d quotas", len(quotaCases), len(quotas))
	}
}

// TestQuotaHoldsAcrossProcesses has two sets of services on one store, which share nothing else.
func TestQuotaHoldsAcrossProcesses(t *testing.T) {
	labs := []*lab{newLab(t), newLab(t)}
	account := labs[0].a
	labs[0].setQuota(account, "vpcs", 5)
	counts := atOnce(40, func(n int) error {
		_, err := labs[n%2].vpcs().CreateVpc(labs[0].as(account), &pb.CreateVpcRequest{
			VpcId: id(n), Vpc: &pb.Vpc{Region: "us-east-1", CidrBlock: "10.0.0.0/16"}})
		return err
	})
	wantCounts(t, counts, map[codes.Code]int{codes.OK: 5, codes.ResourceExhausted: 35})
}

// wantExceeded fails unless err says which quota of what is used up.
func (s *shop) wantExceeded(err error, q *quota, scope string, limit int32) {
	s.t.Helper()
	if scope = s.full(scope); scope[len(scope)-1] == '/' {
		scope = scope[:len(scope)-1]
	}
	wantError(s.t, err, codes.ResourceExhausted, "QUOTA_EXCEEDED", scope, q.unit)
	failures := 0
	for _, d := range status.Convert(err).Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			if m := d.GetMetadata(); m["quota"] != q.id || m["scope"] != scope || m["limit"] != strconv.Itoa(int(limit)) {
				s.t.Errorf("ErrorInfo %v, want %s of %s: %d", m, q.id, scope, limit)
			}
		case *errdetails.QuotaFailure:
			failures++
			if v := d.GetViolations()[0]; v.GetQuotaId() != q.id || v.GetSubject() != scope || v.GetQuotaValue() != int64(limit) {
				s.t.Errorf("QuotaFailure %v, want %s of %s: %d", v, q.id, scope, limit)
			}
		}
	}
	if failures != 1 {
		s.t.Errorf("%d QuotaFailures in %v", failures, err)
	}
}

func TestQuotasAreKeptSparse(t *testing.T) {
	l := newLab(t)
	name := quotaName(l.a, quotaPeerings)
	update := func(q *pb.Quota, paths ...string) (*pb.Quota, error) {
		q.Name = name
		return l.accounts().UpdateQuota(l.operator(), &pb.UpdateQuotaRequest{Quota: q, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}})
	}
	first, err := update(&pb.Quota{Value: new(int32(125))})
	must(t, err)
	if first.GetValue() != 125 || first.GetMaximum() != 125 || first.Used != nil || first.GetUpdateTime() == nil {
		t.Errorf("raised quota is %v", first)
	}
	_, err = update(&pb.Quota{Value: new(int32(126))})
	wantField(t, err, "quota.value")
	_, err = update(&pb.Quota{Value: new(int32(-1))})
	wantField(t, err, "quota.value")
	_, err = update(&pb.Quota{Value: new(int32(60)), Etag: "1"})
	wantError(t, err, codes.Aborted, "ETAG_MISMATCH")
	got, err := l.accounts().GetQuota(l.as(l.a), &pb.GetQuotaRequest{Name: "quotas/" + quotaPeerings})
	must(t, err)
	if got.String() != first.String() {
		t.Errorf("reads as %v, want %v", got, first)
	}
	_, err = l.accounts().DeleteAccount(l.operator(), &pb.DeleteAccountRequest{Name: "accounts/" + l.a})
	must(t, err)
	_, err = l.accounts().GetQuota(l.operator(), &pb.GetQuotaRequest{Name: name})
	wantError(t, err, codes.NotFound, "QUOTA_NOT_FOUND")
	_, err = l.accounts().CreateAccount(l.operator(), &pb.CreateAccountRequest{AccountId: l.a, Account: &pb.Account{}})
	must(t, err)
	for _, reset := range []func() (*pb.Quota, error){
		func() (*pb.Quota, error) { return update(&pb.Quota{}) },
		func() (*pb.Quota, error) { return update(&pb.Quota{Value: new(int32(50)), Etag: "0"}) },
		func() (*pb.Quota, error) {
			_, _ = update(&pb.Quota{Value: new(int32(9))})
			return update(&pb.Quota{}, "value")
		},
	} {
		again, err := reset()
		must(t, err)
		if stored, _ := resource.Quotas.Count(t.Context(), sharedStore, "accounts/"+l.a); again.GetValue() != 50 || again.GetEtag() != "0" || stored != 0 {
			t.Errorf("default quota is %v, with %d stored", again, stored)
		}
	}
}

func TestListQuotasPages(t *testing.T) {
	l := newLab(t)
	seen, token := 0, ""
	for pages := 0; pages == 0 || token != ""; pages++ {
		page, err := l.accounts().ListQuotas(l.as(l.a), &pb.ListQuotasRequest{PageSize: 5, PageToken: token})
		must(t, err)
		for n, q := range page.GetQuotas() {
			if want := quotas[seen+n]; q.GetName() != quotaName(l.a, want.id) || q.GetUnit() == "" || q.GetScope() == "" {
				t.Errorf("%d is %v, want %s", seen+n, q, want.id)
			}
		}
		seen, token = seen+len(page.GetQuotas()), page.GetNextPageToken()
	}
	if seen != len(quotas) {
		t.Errorf("%d quotas listed, want %d", seen, len(quotas))
	}
	page, err := l.accounts().ListQuotas(l.as(l.a), &pb.ListQuotasRequest{PageSize: 5})
	must(t, err)
	_, err = l.accounts().ListQuotas(l.as(l.b), &pb.ListQuotasRequest{PageToken: page.GetNextPageToken()})
	wantField(t, err, "page_token")
	for _, name := range []string{"vpcs", "accounts/" + l.a + "/quotas", "accounts/" + l.a + "/tokens/vpcs", "quotas/VPCS"} {
		_, err = l.accounts().GetQuota(l.as(l.a), &pb.GetQuotaRequest{Name: name})
		wantField(t, err, "name")
	}
	for _, name := range []string{"quotas/none", quotaName(l.b, "vpcs"), quotaName("nobody", "vpcs")} {
		_, err = l.accounts().GetQuota(l.as(l.a), &pb.GetQuotaRequest{Name: name})
		wantError(t, err, codes.NotFound, "QUOTA_NOT_FOUND")
	}
}
