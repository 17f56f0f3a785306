package main

import (
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const referenceFile = "../../docs/causewayd.yaml"

func TestReferenceIsTheDefaultConfiguration(t *testing.T) {
	got, err := loadConfig(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := got.validate(); err != nil {
		t.Error(err)
	}
	want, err := loadConfig("")
	if err != nil {
		t.Fatal(err)
	}
	equal := []cmp.Option{
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
		cmpopts.EquateEmpty(),
	}
	if diff := cmp.Diff(want, got, equal...); diff != "" {
		t.Errorf("the reference file differs from the defaults (-default +file):\n%s", diff)
	}
}

func TestReferenceHoldsEveryKeyWithAComment(t *testing.T) {
	text, err := os.ReadFile(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	var raw map[string]any
	if err := yaml.Unmarshal(text, &raw); err != nil {
		t.Fatal(err)
	}
	wantKeys(t, "", reflect.TypeFor[config](), raw)
}

// wantKeys fails for every yaml tag of typ that is no key of node.
func wantKeys(t *testing.T, path string, typ reflect.Type, node map[string]any) {
	t.Helper()
	for field := range typ.Fields() {
		key := field.Tag.Get("yaml")
		value, ok := node[key]
		if !ok {
			t.Errorf("key %q is missing in %s", path+key, referenceFile)
			continue
		}
		inner, isMap := value.(map[string]any)
		if list, isList := value.([]any); isList && len(list) > 0 {
			inner, isMap = list[0].(map[string]any)
		}
		of := field.Type
		if of.Kind() == reflect.Slice {
			of = of.Elem()
		}
		if isMap {
			wantKeys(t, path+key+".", of, inner)
		}
	}
}

func TestConfigIsRefused(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string
	}{
		{"bad unknown key", "data_dir: /x\napi:\n  sock: /y\n", []string{"sock", "3"}},
		{"bad repeated key", "data_dir: /x\ndata_dir: /y\n", []string{"data_dir"}},
		{"bad empty section", "api:\n  # socket: /x\n", []string{"api: has no value"}},
		{"bad type", "wireguard:\n  mtu: much\n", []string{"mtu"}},
		{"bad several", "zones: [{region: us-east-1, zone: A}]\nwireguard: {mtu: 99, advertise: 'a:1'}\nlog: {format: xml}\n",
			[]string{`zones[0].zone: "A"`, "wireguard.mtu: 99", "wireguard.advertise", "log.format"}},
		{"bad zone twice", "zones: [{region: r, zone: a}, {region: s, zone: a}]\n", []string{"listed twice"}},
		{"bad ports reversed", "wireguard: {ports: 20-10}\n", []string{"ends before it begins"}},
		{"bad port", "wireguard: {ports: 0-10}\n", []string{"no port"}},
		{"bad listen", "api: {listen: localhost}\n", []string{"api.listen"}},
		{"bad relative socket", "api: {socket: api.sock}\n", []string{"absolute"}},
		{"bad nothing to listen on", "api: {socket: '', listen: ''}\n", []string{"api: has neither"}},
		{"bad half a certificate", "api: {tls: {certificate: /c}}\n", []string{"api.tls"}},
		{"bad host bits", "underlay: {allow: [10.0.0.1/8]}\n", []string{"use 10.0.0.0/8"}},
		{"bad source", "underlay: {sources: [0.0.0.0]}\n", []string{"underlay.sources", "0.0.0.0"}},
		{"bad source twice", "underlay: {sources: [10.0.0.1, 10.0.0.1]}\n", []string{"underlay.sources", "10.0.0.1"}},
		{"bad prefix", "underlay: {allow: [10.0.0.0]}\n", []string{"10.0.0.0"}},
		{"bad suffix", "dns: {suffix: Causeway.internal}\n", []string{"dns.suffix", "lower-case"}},
		{"bad suffix with a final dot", "dns: {suffix: internal.}\n", []string{"dns.suffix"}},
		{"bad empty suffix", "dns: {suffix: ''}\n", []string{"dns.suffix"}},
		{"bad long suffix", "dns: {suffix: " + strings.Repeat("a.", 50) + "aa}\n", []string{"at most 100 characters"}},
		{"bad forwarder without port", "dns: {forwarders: [9.9.9.9]}\n", []string{"9.9.9.9"}},
		{"bad forwarder by name", "dns: {forwarders: ['dns.example:53']}\n", []string{"dns.example:53"}},
		{"bad forwarder port", "dns: {forwarders: ['9.9.9.9:0']}\n", []string{"dns.forwarders[0]", "9.9.9.9:0"}},
		{"bad forwarder everywhere", "dns: {forwarders: ['0.0.0.0:53', '255.255.255.255:53']}\n", []string{"dns.forwarders[0]", "dns.forwarders[1]"}},
		{"bad forwarder twice", "dns: {forwarders: ['9.9.9.9:53', '9.9.9.9:53']}\n", []string{"dns.forwarders[1]", "listed twice"}},
		{"bad number of forwarders", "dns: {forwarders: ['9.9.9.9:1', '9.9.9.9:2', '9.9.9.9:3', '9.9.9.9:4', '9.9.9.9:5', '9.9.9.9:6', '9.9.9.9:7']}\n",
			[]string{"7 addresses, at most 6"}},
		{"bad duration", "zone_budget: {grow_after: 1ms}\n", []string{"zone_budget.grow_after"}},
		{"bad flow log", "flow_log: {file: flows.log, format: '${srcaddr} ${tcp}', max_size_mb: 0, max_files: 100000}\n",
			[]string{"flow_log.file", `flow_log.format: "tcp" is not known`, "flow_log.max_size_mb", "flow_log.max_files"}},
		{"bad store without certificates", "store: {endpoints: ['https://a:2379']}\n", []string{"mutual TLS"}},
		{"bad store in plain text", "store: {endpoints: ['http://a:2379'], ca: a, certificate: b, key: c}\n", []string{"store.endpoints[0]"}},
		{"bad certificates without store", "store: {ca: a}\n", []string{"none is named"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg, err := parseConfig([]byte(tt.text))
			if err == nil {
				err = cfg.validate()
			}
			if err == nil {
				t.Fatal("accepted")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error does not say %q:\n%v", want, err)
				}
			}
		})
	}
}

func TestConfigOverDefaults(t *testing.T) {
	cfg, err := parseConfig([]byte("zones: [{region: eu-1, zone: eu-1b}]\nwireguard: {ports: 1000-1000}\nlog: {level: warn}\n" +
		"dns: {suffix: vpc.example, forwarders: ['127.0.0.53:53', '[2620:fe::fe]:53']}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := cfg.validate(); err != nil {
		t.Error(err)
	}
	want := defaultConfig()
	want.Zones = []zoneConfig{{Region: "eu-1", Zone: "eu-1b"}}
	want.WireGuard.Ports = portRange{First: 1000, Last: 1000}
	want.Log.Level = 4
	want.DNS = dnsConfig{Suffix: "vpc.example", Forwarders: []nameServer{
		{netip.MustParseAddrPort("127.0.0.53:53")}, {netip.MustParseAddrPort("[2620:fe::fe]:53")},
	}}
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("got %+v, want %+v", cfg, want)
	}
}
