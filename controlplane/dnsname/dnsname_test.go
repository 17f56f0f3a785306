package dnsname

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestCheckPrivate(t *testing.T) {
	long := strings.Repeat("a", 63)
	cases := map[string]string{ // what the error holds; "" for none
		"orders.example.com":                "",
		"*.orders.example.com":              "",
		"kinesis.us-east-1.amazonaws.com":   "",
		"1.2.example.com":                   "",
		"xn--bcher-kva.example":             "",
		"example.xn--p1ai":                  "",
		"example.internal":                  "",
		long + ".example.com":               "",
		"":                                  "is empty",
		"*":                                 "only the whole first label",
		"*.":                                "is empty",
		"*.com":                             "single label",
		"com":                               "single label",
		"localhost":                         "single label",
		"a.localhost":                       "localhost",
		"printer.local":                     "local",
		"1.0.0.10.in-addr.arpa":             "arpa",
		"10.0.1.4":                          "top-level domain",
		"orders.example.com.":               "ends in a dot",
		"orders..example.com":               "empty label",
		".example.com":                      "empty label",
		"Orders.example.com":                "upper-case",
		"orders.*.example.com":              "only the whole first label",
		"a*.example.com":                    "other characters",
		"*.*.example.com":                   "only the whole first label",
		"_orders.example.com":               "other characters",
		"bücher.example.com":                "other characters",
		"-a.example.com":                    "hyphen",
		"a-.example.com":                    "hyphen",
		"a b.example.com":                   "other characters",
		"a\x00.example.com":                 "other characters",
		long + "a.example.com":              "63",
		strings.Repeat("a.", 125) + "com":   "",
		strings.Repeat("a.", 126) + "com":   "253",
		"vpce.causeway.internal":            "where the names of endpoints are",
		"a.vpce-svc-1.causeway.internal":    "where the names of endpoints are",
		"notcauseway.internal":              "",
		"orders.vpce-svc-00000000000000000": "top-level domain",
		"causeway.internal":                 "where the names of endpoints are",
		"https://orders.example.com":        "other characters",
		"orders.example.com:443":            "other characters",
		"accounts/alpha/services/x.y":       "other characters",
	}
	for name, want := range cases {
		err := CheckPrivate(name, "causeway.internal")
		switch {
		case want == "" && err != nil:
			t.Errorf("%q %v", name, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%q gives %v, want %q", name, err, want)
		}
	}
}

func TestCheckForwarded(t *testing.T) {
	for _, domain := range []string{".", "com", "corp", "corp.example.com", "_tcp.example.com", "10.in-addr.arpa", "1"} {
		if err := CheckForwarded(domain); err != nil {
			t.Errorf("%q %v", domain, err)
		}
	}
	for _, domain := range []string{"", "..", ".com", "com.", "*.example.com", "Corp", "-a", "a/b", "a\n", strings.Repeat("a", 64), strings.Repeat("a.", 127)} {
		if CheckForwarded(domain) == nil {
			t.Errorf("%q may be forwarded", domain)
		}
	}
}

func TestProving(t *testing.T) {
	cases := map[string][]string{
		"example.com":            {"example.com"},
		"*.a.example.com":        {"a.example.com", "example.com"},
		"1.2.3.4.5.6.7.8.9.z.co": {"3.4.5.6.7.8.9.z.co", "4.5.6.7.8.9.z.co", "5.6.7.8.9.z.co", "6.7.8.9.z.co", "7.8.9.z.co", "8.9.z.co", "9.z.co", "z.co"},
	}
	for name, want := range cases {
		if got := Proving(name); !slices.Equal(got, want) {
			t.Errorf("%s is proven by %q, want %q", name, got, want)
		}
	}
}

func TestEndpointNames(t *testing.T) {
	own := Endpoint{
		UID: "vpce-099deb00b40f00e22", ServiceName: "com.causeway.vpce.us-east-2.vpce-svc-071afff70666e61e0",
		ServiceUID: "vpce-svc-071afff70666e61e0", Region: "us-east-2", Suffix: DefaultSuffix,
	}
	platform := own
	platform.ServiceName = "com.amazonaws.us-east-2.monitoring"
	cases := map[string]string{
		own.Regional():               `^vpce-099deb00b40f00e22-[a-z0-9]{8}\.vpce-svc-071afff70666e61e0\.us-east-2\.vpce\.causeway\.internal$`,
		own.Zonal("us-east-2a"):      `^vpce-099deb00b40f00e22-[a-z0-9]{8}-us-east-2a\.vpce-svc-071afff70666e61e0\.us-east-2\.vpce\.causeway\.internal$`,
		platform.Regional():          `^vpce-099deb00b40f00e22-[a-z0-9]{8}\.monitoring\.us-east-2\.vpce\.causeway\.internal$`,
		platform.Zonal("us-east-2a"): `^vpce-099deb00b40f00e22-[a-z0-9]{8}-us-east-2a\.monitoring\.us-east-2\.vpce\.causeway\.internal$`,
	}
	for name, form := range cases {
		if !regexp.MustCompile(form).MatchString(name) || !Valid(name) {
			t.Errorf("%s is not of the form %s", name, form)
		}
	}
	same, other := platform, own
	other.UID = "vpce-099deb00b40f00e23"
	characters := func(e Endpoint) string { return e.Regional()[len(e.UID) : len(e.UID)+9] }
	if characters(own) != characters(same) || characters(own) == characters(other) {
		t.Error("the eight characters do not follow from the uid")
	}
	if Valid(own.Zonal(strings.Repeat("a", 40))) {
		t.Error("a zonal name with a label of more than 63 characters is valid")
	}
}

// FuzzCheckPrivate holds that what may be a service's name is one that DNS can carry and that says the same to all.
func FuzzCheckPrivate(f *testing.F) {
	f.Add("orders.example.com")
	f.Add("*.orders.example.com")
	f.Add("*.*.\x00")
	label := regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	f.Fuzz(func(t *testing.T, name string) {
		if CheckPrivate(name, DefaultSuffix) != nil {
			return
		}
		if len(name) > 253 || !Valid(name) {
			t.Errorf("%q is too long or not valid", name)
		}
		for l := range strings.SplitSeq(strings.TrimPrefix(name, "*."), ".") {
			if !label.MatchString(l) {
				t.Errorf("%q has label %q", name, l)
			}
		}
		for _, domain := range Proving(name) {
			if !Within(Domain(name), domain) || strings.Count(domain, ".") == 0 {
				t.Errorf("%q is proven by %q", name, domain)
			}
		}
	})
}
