package flowlog

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"causeway/gateway/spec"
)

func record() *spec.FlowRecord {
	return &spec.FlowRecord{
		ID: 7, Protocol: 6, Domain: "accounts/shop/vpcs/prod",
		Consumer: netip.MustParseAddrPort("10.0.1.4:40000"), Exposure: netip.MustParseAddrPort("10.0.1.9:443"),
		Peer: "accounts/shop/vpcs/prod/subnets/a/attachments/app", Endpoint: "accounts/shop/vpcs/prod/endpoints/orders",
		EndpointUID: "vpce-00000000000000001", Interface: "eni-00000000000000001", Zone: "us-east-1a",
		Via: "accounts/shop/peerings/p", Service: "accounts/partner/endpointServices/orders",
		Statement: "AllowReports", ServerName: "a.example.com\n2 forged", Target: netip.MustParseAddrPort("192.168.7.10:8080"),
		TargetGroup: "accounts/partner/targetGroups/orders", IngressBytes: 100, EgressBytes: 2000,
		Start: time.Unix(1418530010, 9), End: time.Unix(1418530070, 0), Reason: "completed",
	}
}

func TestFormatOfLines(t *testing.T) {
	const custom = "${version} ${vpc-id} ${az-id} ${flow-id} ${peer} ${peering} ${endpoint} ${endpoint-id} ${service} ${policy-decision} " +
		"${policy-statement} ${server-name} ${targetaddr} ${targetport} ${target-group} ${ingress-bytes} ${egress-bytes} ${end-reason}"
	refused, denied, dry := record(), record(), record()
	refused.Target, refused.TargetGroup, refused.Reason = netip.AddrPort{}, "", "refused_no_target"
	denied.Denied, denied.Statement = true, "implicit-deny"
	dry.Denied, dry.DryRun = true, true
	for name, tt := range map[string]struct {
		format string
		record *spec.FlowRecord
		want   string
	}{
		"default": {DefaultFormat, record(), "2 shop eni-00000000000000001 10.0.1.4 10.0.1.9 40000 443 6 - 2100 1418530010 1418530070 ACCEPT OK"},
		"refused": {DefaultFormat, refused, "2 shop eni-00000000000000001 10.0.1.4 10.0.1.9 40000 443 6 - 2100 1418530010 1418530070 REJECT OK"},
		"custom": {custom, record(), "4 accounts/shop/vpcs/prod us-east-1a 7 accounts/shop/vpcs/prod/subnets/a/attachments/app accounts/shop/peerings/p " +
			"accounts/shop/vpcs/prod/endpoints/orders vpce-00000000000000001 accounts/partner/endpointServices/orders ALLOW AllowReports " +
			"a.example.com?2?forged 192.168.7.10 8080 accounts/partner/targetGroups/orders 100 2000 completed"},
		"custom refused": {"${targetaddr} ${target-group} ${end-reason}", refused, "- - refused_no_target"},
		"denied":         {"${policy-decision} ${policy-statement}", denied, "DENY implicit-deny"},
		"dry run":        {"${policy-decision} ${policy-statement}", dry, "DENY_DRY_RUN AllowReports"},
		"nothing known":  {custom, &spec.FlowRecord{}, "4 - - 0 - - - - - - - - - - - 0 0 -"},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := ParseFormat(tt.format)
			if err != nil {
				t.Fatal(err)
			}
			if got := string(f.AppendRecord(nil, tt.record)); got != tt.want+"\n" {
				t.Errorf("got  %swant %s", got, tt.want)
			}
		})
	}
}

func TestFormatOfSkippedRecords(t *testing.T) {
	f, err := ParseFormat(DefaultFormat)
	if err != nil {
		t.Fatal(err)
	}
	got := string(f.appendSkipped(nil, &spec.FlowRecord{Start: time.Unix(100, 0), End: time.Unix(160, 0)}))
	if want := "2 - - - - - - - - - 100 160 - SKIPDATA\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestFormatNamesEveryField keeps the fields and their description together.
func TestFormatNamesEveryField(t *testing.T) {
	for name := range fields {
		if _, err := ParseFormat("${" + name + "}"); err != nil {
			t.Error(err)
		}
	}
}

func TestBadFormats(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"bad empty":    {"", "no fields"},
		"bad unknown":  {"${srcaddr} ${tcp-flags}", `"tcp-flags" is not known; fields are account-id, action`},
		"bad bare":     {"srcaddr", `"srcaddr" is no field; write ${name}`},
		"bad spaces":   {"${srcaddr}  ${dstaddr}", `"" is no field`},
		"bad end":      {"${srcaddr} ", `"" is no field`},
		"bad unclosed": {"${srcaddr ${dstaddr}", "is no field"},
		"bad twice":    {"${start} ${start}", "twice"},
		"bad long":     {strings.Repeat("x", 1<<20), "is no field"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseFormat(tt.text)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if err != nil && len(err.Error()) > 1000 {
				t.Errorf("error of %d bytes", len(err.Error()))
			}
		})
	}
}

// FuzzParseFormat holds that a format that is read gives lines of as many words as it has fields, whatever the record says.
func FuzzParseFormat(f *testing.F) {
	f.Add(DefaultFormat, "a.example.com")
	f.Add("${server-name} ${end-reason}", "x\ny z")
	f.Add("${start} ${start}", "")
	f.Fuzz(func(t *testing.T, text, name string) {
		format, err := ParseFormat(text)
		if err != nil {
			return
		}
		r := record()
		r.ServerName = name
		line := string(format.AppendRecord(nil, r))
		body, ended := strings.CutSuffix(line, "\n")
		if words := strings.Split(body, " "); !ended || len(words) != len(format.fields) || strings.Contains(body, "\n") {
			t.Errorf("%q has %d words for %d fields", line, len(words), len(format.fields))
		}
	})
}
