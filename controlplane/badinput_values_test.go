package controlplane_test

import (
	"encoding/base64"
	"math"
	"strings"
)

// hugeText is long enough to hurt what copies it often, and below what the server receives.
var hugeText = strings.Repeat("x", 900<<10)

// strangeTexts are bad in every field that is not free text.
var strangeTexts = []string{
	"-", "1", "Main", "a_b", strings.Repeat("a", 64), strings.Repeat("a", 512), strings.Repeat("a", 513), hugeText,
	"\x00", "a\nb", "a\r\nx-evil: 1", "../../main", "..", "/", "//", "a%2fb", "%00", "\x1b[31mred\x1b[0m", " ", "\t",
	"caf\u00e9", "cafe\u0301", "\u202edcba", "\u0430lpha", "😀", "\ufeffa", "\u2028",
	"{{}}", "{{.Env}}", "$(id)", "`id`", "${jndi:ldap://x}", "' OR 1=1 --", "<script>", "%s%n%d", "*", "?", "null", "-1", "NaN",
	"accounts", "accounts/", "accounts//", "accounts/alpha/", "accounts/*/vpcs/*", "accounts/alpha/vpcs/../../ghost/vpcs/ghost",
	"accounts/-/vpcs/main", "/causeway/v1/vpcs/accounts/alpha/vpcs/prod", "vpc-0123456789abcdef", "vpc-0123456789ABCDEF0", "vpc-00000000000000000",
	"com.causeway.vpce.", "com.causeway.vpce.us-east-1.vpce-svc-00000000000000000", "com.causeway.vpce.." + strings.Repeat("a", 600),
}

// spoiled makes of a good text texts that some readers take for the same.
func spoiled(good string) []string {
	if good == "" {
		return nil
	}
	return []string{
		" " + good, good + " ", good + "\n", good + "\x00", good + "/", "/" + good, good + "/..", "./" + good,
		strings.ToUpper(good), strings.ReplaceAll(good, "/", "%2f"), strings.ReplaceAll(good, "/", "\\"),
		strings.ReplaceAll(good, "a", "\u0430"), good + "\u200b", good + ",", good + "#x",
	}
}

// badAddresses are wrong for an address, a prefix and a host.
var badAddresses = []string{
	"127.0.0.1", "127.1", "0.0.0.0", "0.1.2.3", "::", "::1", "::ffff:127.0.0.1", "::127.0.0.1", "::ffff:169.254.169.254",
	"64:ff9b::a9fe:a9fe", "64:ff9b:1::/48", "2002:7f00:1::", "fe80::1", "fe80::1%eth0", "169.254.169.254", "169.254.169.253",
	"169.254.169.123", "fd00:ec2::254", "fd00:ec2::253", "168.63.129.16", "100.100.100.200", "192.0.0.192", "224.0.0.1", "ff02::1",
	"255.255.255.255", "240.0.0.1", "010.0.0.1", "0x7f.1", "2130706433", "1", "[::1]", "localhost", "localhost.", "a.localhost",
	"metadata.google.internal", "127.0.0.1.nip.io", "127.0.0.1:2379", "10.0.0.1:51820", "10.0.1.1%eth0", "10.0.1.256", "10.0.1", "10.0.1.-1",
	"10.0.0.0/7", "10.0.0.5/16", "0.0.0.0/0", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/032", "10.0.0.0/+16", "10.0.0.0/16 ", "10.0.0.0/",
	"/16", "10.0.0.0/255.255.0.0", "::ffff:10.0.0.0/112", "::/0", "127.0.0.0/16", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/16",
	"240.0.0.0/16", "255.255.255.255/32", "0.0.0.0/16", "10.0.0.0/8", "10.0.0.0/29", "10.0.0.0/15", "10.0.1.0/32",
	"\u0661\u0660.0.0.1", "10。0。1。9",
}

// badURLs are no URLs of a receiver.
var badURLs = []string{
	"http://", "http:///hook", "http:hook", "//hooks.example.com", "hooks.example.com", "ftp://hooks.example.com", "file:///etc/passwd",
	"unix:///run/causeway/api.sock", "javascript:alert(1)", "gopher://hooks.example.com", "https://user@hooks.example.com",
	"https://user:secret@hooks.example.com", "https://@hooks.example.com", "https://hooks.example.com#", "https://hooks.example.com/#x",
	"https://hooks.example.com:", "https://hooks.example.com:0", "https://hooks.example.com:65536", "https://hooks.example.com:-1",
	"https://hooks.example.com:443x", "https://hooks.example.com\\@127.0.0.1", "https://hooks .example.com", "https://hooks_.example..com",
	"https://-hooks.example.com", "https://127.0.0.1", "https://127.1", "https://2130706433", "https://0x7f000001", "https://0177.0.0.1",
	"https://0", "https://[::]", "https://[::1]", "https://[::ffff:127.0.0.1]", "https://[::ffff:7f00:1]", "https://[64:ff9b::7f00:1]",
	"https://[2002:7f00:1::]", "https://[fe80::1]", "https://[fe80::1%25eth0]", "https://localhost", "https://LOCALHOST.", "https://a.localhost",
	"http://169.254.169.254/latest/meta-data/", "http://[fd00:ec2::254]/", "http://100.100.100.200", "http://168.63.129.16", "http://192.0.0.192",
	"http://10.0.0.1:2379", "http://192.168.0.1", "http://172.16.0.1", "http://[fd00::1]", "http://224.0.0.1", "http://255.255.255.255",
	"https://" + strings.Repeat("a", 64) + ".example.com", "https://" + strings.Repeat("a.", 130) + "com", "https://hooks.example.com/" + strings.Repeat("a", 2048),
}

// badKeys are no public keys of a peer.
var badKeys = []string{
	base64.StdEncoding.EncodeToString(make([]byte, 31)), base64.StdEncoding.EncodeToString(make([]byte, 32)), base64.StdEncoding.EncodeToString(make([]byte, 33)),
	"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", // of low order
	"4Ot6fDtBuK4WVuP68Z/EatoJjeucMrH9hmIFFl9JuAA=", // of low order
	"X5yVvKNQjCSx0LFVnIPvWwREXMRYHI6G2CJO3dCfEVc=", // of low order
	"7P///////////////////////////////////////38=", // p-1, of low order
	"7f///////////////////////////////////////38=", // p, another spelling of 0
	"//////////////////////////////////////////8=", // not reduced
	"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==", "not base64", strings.Repeat("A", 44), strings.Repeat("=", 44),
}

var (
	badInts   = []int64{0, -1, 1, 65535, 65536, math.MinInt32, math.MaxInt32, math.MinInt64, math.MaxInt64, 1e9}
	badFloats = []float64{0, math.Copysign(0, -1), -1, math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64}
	// badTimes are seconds and nanoseconds of Timestamp and Duration alike.
	badTimes = []struct {
		seconds int64
		nanos   int32
	}{
		{0, 0}, {-1, 0}, {0, -1}, {1, -1}, {-1, 1}, {0, 1e9}, {1, math.MaxInt32}, {0, math.MinInt32}, {math.MaxInt64, 0}, {math.MinInt64, 0},
		{-62135596801, 0}, {253402300800, 0}, {315576000001, 0}, {math.MaxInt64, math.MaxInt32},
	}
)

// badPaths are field masks, where %s is a field of the resource.
var badPaths = [][]string{
	{"*"}, {"*", "*"}, {"nothing"}, {""}, {"."}, {"a..b"}, {"%s.nothing"}, {"%s", "%s"}, {"%s.%s"}, {"%s", "nothing"}, {"%s "}, {"Name"},
	{"name"}, {"uid"}, {"state"}, {"create_time.seconds"}, {"etag"}, {"*.name"}, {"%s.*"}, {"displayName"}, {"\x1b[31m"}, {strings.Repeat("a.", 5000)},
}
