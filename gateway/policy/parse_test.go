package policy

import (
	"fmt"
	"strings"
	"testing"
)

// with puts elements in the place of those of a statement that is right; "" leaves one out.
func with(elements ...string) string {
	statement := map[string]string{
		"Effect": `"Effect":"Allow"`, "Principal": `"Principal":"*"`, "Action": `"Action":"*"`, "Resource": `"Resource":"*"`,
	}
	for _, e := range elements {
		name, _, _ := strings.Cut(strings.TrimPrefix(e, `"`), `"`)
		if rest, gone := strings.CutPrefix(e, "-"); gone {
			delete(statement, rest)
			continue
		}
		statement[name] = e
	}
	var list []string
	for _, name := range []string{
		"Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition", "Extra", "effect",
	} {
		if e, ok := statement[name]; ok {
			list = append(list, e)
		}
	}
	return `{"Version":"2012-10-17","Statement":[{` + strings.Join(list, ",") + `}]}`
}

func condition1(operator, key, value string) string {
	return with(fmt.Sprintf(`"Condition":{%q:{%q:%s}}`, operator, key, value))
}

func TestParseAccepts(t *testing.T) {
	for name, text := range map[string]string{
		"default":               Default,
		"one statement":         `{"Statement":{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*"}}`,
		"old version":           `{"Version":"2008-10-17","Id":"x","Statement":[{"Sid":"a b-c","Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}]}`,
		"white space":           " \t\r\n" + Default + "\n",
		"escaped star":          with(`"Action":"\u002a"`),
		"longest":               padded(MaxCharacters),
		"accounts":              with(`"Principal":{"AWS":["acme","123456789012","arn:aws:iam::acme:root"]}`),
		"all accounts":          with(`"Principal":{"AWS":"*"}`),
		"connect in any case":   with(`"Action":["VPCE:connect","vpce:Con*"]`),
		"actions of a service":  with(`"Action":["s3:*Object?","kinesis:Get*","execute-api:Invoke"]`),
		"deny a service":        with(`"Effect":"Deny"`, `"Action":"S3:*"`),
		"deny others":           with(`"Effect":"Deny"`, "-Action", `"NotAction":"s3:GetObject"`),
		"deny other accounts":   with(`"Effect":"Deny"`, "-Principal", `"NotPrincipal":{"AWS":"acme"}`),
		"service port":          with(`"Resource":"arn:aws:vpce:us-east-1:acme:vpce-svc-0123456789abcdef0/443"`),
		"service any port":      with(`"Resource":"arn:aws:vpce:*:*:vpce-svc-0123456789abcdef0"`),
		"bucket":                with(`"Resource":["arn:aws:s3:::reports","arn:aws:s3:::reports/*"]`),
		"deny bucket":           with(`"Effect":"Deny"`, `"Resource":["arn:aws:s3:::reports","arn:aws:s3:::reports/*"]`),
		"stream":                with(`"Resource":"arn:aws:kinesis:us-east-1:123456789012:stream/orders"`),
		"other than":            with("-Resource", `"NotResource":"arn:aws:s3:::reports/private/*"`),
		"variable":              with(`"Resource":"arn:aws:s3:::${aws:PrincipalAccount}-${*}/*"`),
		"wildcard after six":    condition1("StringLike", "vpce:ServerName", `"abcdef*"`),
		"wildcard before six":   condition1("StringLike", "vpce:ServerName", `"*.amazonaws.com"`),
		"two wildcards":         condition1("StringLike", "vpce:ServerName", `"*abcdef*"`),
		"key in any case":       condition1("StringEquals", "AWS:sourcevpc", `"vpc-1"`),
		"number without quotes": condition1("NumericEquals", "vpce:Port", `443`),
		"number in quotes":      condition1("NumericLessThan", "vpce:Port", `["443","1024.5"]`),
		"bool":                  condition1("BoolIfExists", "aws:SecureTransport", `true`),
		"bool in quotes":        condition1("Bool", "aws:SecureTransport", `["true","false"]`),
		"null":                  condition1("Null", "vpce:ServerName", `"false"`),
		"address":               condition1("IpAddress", "aws:SourceIp", `["10.0.0.1","10.0.0.0/16","2001:db8::/32"]`),
		"date":                  condition1("DateLessThan", "aws:CurrentTime", `["2026-01-31","2026-01-31T23:59Z","2026-01-31T23:59:59.5+02:00"]`),
		"epoch":                 condition1("DateGreaterThan", "aws:CurrentTime", `[1767225600,"1767225600"]`),
		"epoch as number":       condition1("NumericGreaterThan", "aws:EpochTime", `1767225600`),
		"for all":               condition1("ForAllValues:StringNotEqualsIfExists", "vpce:Peer", `["a","b"]`),
		"arn":                   condition1("ArnLike", "aws:PrincipalArn", `"arn:aws:iam::*:root"`),
		"literal star":          condition1("StringEquals", "vpce:Peer", `"${*}"`),
	} {
		if _, err := Parse(text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// padded is a policy of a number of characters, most of them white space, one of them of several bytes.
func padded(characters int) string {
	text := `{"Id":"é","Statement":{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*"}}`
	return text + strings.Repeat(" ", characters-len([]rune(text)))
}

// The inputs are those of the catalogue of bad input, row "Endpoint policy", and more of each kind. The text is what
// the error has to say.
func TestParseRefuses(t *testing.T) {
	deny := `"Effect":"Deny"`
	for name, c := range map[string]struct{ text, says string }{
		"empty":                    {"", "not JSON: it ends too early"},
		"not JSON":                 {"allow all", "not JSON: invalid character 'a'"},
		"cut off":                  {Default[:40], "ends too early"},
		"single quotes":            {`{'Statement':[]}`, "not JSON"},
		"not UTF-8":                {"{\"Id\":\"\xff\"}", "not UTF-8"},
		"array":                    {`[]`, "policy: must be an object"},
		"string":                   {`"*"`, "must be an object"},
		"null":                     {`null`, "must be an object"},
		"object":                   {`{}`, "Statement is missing"},
		"duplicate key":            {`{"Statement":[],` + Default[1:], "Statement: is there twice"},
		"duplicate in statement":   {with(`"Action":"*","Action":"s3:*"`), "Statement[0].Action: is there twice"},
		"duplicate by escape":      {with(`"Action":"*","\u0041ction":"s3:*"`), "is there twice"},
		"trailing data":            {Default + "{}", "something follows the policy's closing brace"},
		"trailing brace":           {Default + "}", "something follows"},
		"trailing comma":           {`{"Statement":[],}`, "not JSON"},
		"byte order mark":          {"\uFEFF" + Default, "byte order mark"},
		"line comment":             {"// everything\n" + Default, "not JSON"},
		"block comment":            {`{"Statement":[/* all */]}`, "not JSON"},
		"10,000 deep":              {strings.Repeat("[", 10000) + strings.Repeat("]", 10000), "nested deeper"},
		"10,000 objects deep":      {strings.Repeat(`{"a":`, 4000), "nested deeper"},
		"20,481 characters":        {padded(MaxCharacters + 1), "20481 characters are more than 20480"},
		"10,000 statements":        {`{"Statement":[` + strings.Repeat(`{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*"},`, 10000) + "]}", "more than 20480"},
		"version":                  {strings.Replace(Default, "{", `{"Version":"2012-10-18",`, 1), `Version: must be "2012-10-17" or "2008-10-17"`},
		"version as number":        {strings.Replace(Default, "{", `{"Version":2012,`, 1), "Version: must be"},
		"unknown element":          {strings.Replace(Default, "{", `{"Comment":"x",`, 1), "Comment: is not known"},
		"unknown in statement":     {with(`"Extra":1`), "Statement[0].Extra: is not known"},
		"element in another case":  {with("-Effect", `"effect":"Allow"`), "Statement[0].effect: is not known"},
		"no statements":            {`{"Statement":[]}`, "Statement: is empty"},
		"statement as string":      {`{"Statement":"x"}`, "Statement: must be an object"},
		"statements as null":       {`{"Statement":[null]}`, "Statement[0]: must be an object"},
		"lower-case effect":        {with(`"Effect":"allow"`), `Statement[0].Effect: must be "Allow" or "Deny"`},
		"other effect":             {with(`"Effect":"Audit"`), "Effect: must be"},
		"effect as array":          {with(`"Effect":["Allow"]`), "Effect: must be"},
		"no effect":                {with("-Effect"), "Statement[0]: Effect is missing"},
		"no principal":             {with("-Principal"), "Statement[0]: Principal is missing"},
		"no action":                {with("-Action"), "Statement[0]: Action is missing"},
		"no resource":              {with("-Resource"), "Statement[0]: Resource is missing"},
		"both actions":             {with(`"NotAction":"s3:*"`), "has both Action and NotAction"},
		"both resources":           {with(`"NotResource":"*"`), "has both Resource and NotResource"},
		"both principals":          {with(`"NotPrincipal":"*"`), "has both Principal and NotPrincipal"},
		"allow to others":          {with("-Principal", `"NotPrincipal":{"AWS":"acme"}`), "NotPrincipal: goes with Effect Deny only"},
		"empty principals":         {with(`"Principal":{"AWS":[]}`), "Principal.AWS: is empty"},
		"empty principal":          {with(`"Principal":{}`), "Principal: is empty"},
		"empty actions":            {with(`"Action":[]`), "Action: is empty"},
		"empty resources":          {with(`"Resource":[]`), "Resource: is empty"},
		"empty condition":          {with(`"Condition":{}`), "Condition: is empty"},
		"empty operator":           {with(`"Condition":{"Bool":{}}`), "Condition.Bool: is empty"},
		"empty values":             {condition1("StringEquals", "vpce:Peer", `[]`), `StringEquals["vpce:Peer"]: is empty`},
		"bare account":             {with(`"Principal":"acme"`), `"acme" names nobody`},
		"principal of a service":   {with(`"Principal":{"Service":"s3.amazonaws.com"}`), "Principal.Service: is not known"},
		"user":                     {with(`"Principal":{"AWS":"arn:aws:iam::acme:user/bob"}`), "is no whole account"},
		"account with wildcard":    {with(`"Principal":{"AWS":"ac*"}`), "is no account"},
		"principal as number":      {with(`"Principal":{"AWS":123456789012}`), "Principal.AWS: must be a string"},
		"wildcard service":         {with(`"Action":"*:*"`), "has a wildcard before the colon"},
		"two stars":                {with(`"Action":"**"`), `"**" is no action`},
		"question mark":            {with(`"Action":"?"`), `"?" is no action`},
		"unknown action service":   {with(`"Action":"iam:PassRole"`), `service "iam" is not known`},
		"unknown action":           {with(`"Action":"vpce:Delete"`), "the only action of vpce is Connect"},
		"action without service":   {with(`"Action":":Get"`), "is no action"},
		"action without name":      {with(`"Action":"s3:"`), "is no action"},
		"action with space":        {with(`"Action":"s3:Get Object"`), "has characters that no action has"},
		"action look-alike":        {with(`"Action":"vpce:ᴄonnect"`), "has characters that no action has"},
		"full-width star":          {with(`"Action":"＊"`), "is no action"},
		"action as number":         {with(`"Action":1`), "Action: must be a string"},
		"deny of a part":           {with(deny, `"Action":["s3:*","s3:*Object?"]`), `"s3:*Object?" alone cannot be denied`},
		"resource of two stars":    {with(`"Resource":"**"`), "is no ARN"},
		"resource without ARN":     {with(`"Resource":"reports"`), "is no ARN"},
		"short ARN":                {with(`"Resource":"arn:aws:s3::reports"`), "is no ARN"},
		"ARN without resource":     {with(`"Resource":"arn:aws:s3:::"`), "ends before the resource"},
		"partition":                {with(`"Resource":"arn:aws-cn:s3:::reports/*"`), "partition must be aws"},
		"wildcard in ARN service":  {with(`"Resource":"arn:aws:*:::reports/*"`), `service "*" is not known`},
		"unknown ARN service":      {with(`"Resource":"arn:aws:iam::acme:role/x"`), `service "iam" is not known`},
		"region of a bucket":       {with(`"Resource":"arn:aws:s3:us-east-1::reports"`), "have neither region nor account"},
		"no region":                {with(`"Resource":"arn:aws:kinesis::acme:stream/x"`), "region or account is empty"},
		"half account":             {with(`"Resource":"arn:aws:kinesis:*:ac*:stream/x"`), "an ID or *, not both"},
		"port 0":                   {with(`"Resource":"arn:aws:vpce:*:*:vpce-svc-1/0"`), "port from 1 to 65535"},
		"port 65536":               {with(`"Resource":"arn:aws:vpce:*:*:vpce-svc-1/65536"`), "port from 1 to 65535"},
		"port in words":            {with(`"Resource":"arn:aws:vpce:*:*:vpce-svc-1/https"`), "port from 1 to 65535"},
		"deny of a prefix":         {with(deny, `"Resource":"arn:aws:s3:::reports/private/*"`), "alone cannot be denied"},
		"deny of a stream":         {with(deny, `"Resource":"arn:aws:kinesis:*:*:stream/x"`), "alone cannot be denied"},
		"deny of an account":       {with(deny, `"Resource":"arn:aws:kinesis:*:123456789012:*"`), "alone cannot be denied"},
		"unknown operator":         {condition1("StringMatches", "vpce:Peer", `"x"`), "operator is not known"},
		"operator in another case": {condition1("stringEquals", "vpce:Peer", `"x"`), "operator is not known"},
		"binary":                   {condition1("BinaryEquals", "vpce:Peer", `"eA=="`), "operator is not known"},
		"unknown quantifier":       {condition1("ForEachValue:StringEquals", "vpce:Peer", `"x"`), "operator is not known"},
		"null if exists":           {condition1("NullIfExists", "vpce:Peer", `true`), "Null has neither"},
		"null for all":             {condition1("ForAllValues:Null", "vpce:Peer", `true`), "Null has neither"},
		"unknown key":              {condition1("StringEquals", "aws:PrincipalOrgID", `"o-1"`), `["aws:PrincipalOrgID"]: condition key is not known`},
		"key twice":                {with(`"Condition":{"StringEquals":{"vpce:Peer":"a","VPCE:PEER":"b"}}`), "is there twice"},
		"operator for another key": {condition1("StringEquals", "aws:SourceIp", `"10.0.0.1"`), "use IpAddress or NotIpAddress"},
		"number for an ID":         {condition1("NumericEquals", "aws:PrincipalAccount", `1`), "use a String operator"},
		"wildcard for an ID":       {condition1("StringLike", "aws:SourceVpc", `"vpc-012345*"`), "wildcards do not go with aws:SourceVpc"},
		"five before a wildcard":   {condition1("StringLike", "vpce:ServerName", `"abcde*"`), "at least 6 characters"},
		"wildcard alone":           {condition1("StringLike", "vpce:ServerName", `"*"`), "at least 6 characters"},
		"second wildcard alone":    {condition1("StringLike", "vpce:ServerName", `"abcdef*a*"`), "at least 6 characters"},
		"wildcard without like":    {condition1("StringEquals", "vpce:ServerName", `"abcdef*"`), "use StringLike"},
		"condition as array":       {with(`"Condition":[]`), "Condition: must be an object"},
		"keys as string":           {with(`"Condition":{"Bool":"x"}`), "Condition.Bool: must be an object"},
		"value as object":          {condition1("StringEquals", "vpce:Peer", `{}`), "must be a string"},
		"value as null":            {condition1("StringEquals", "vpce:Peer", `null`), "must be a string"},
		"value in arrays":          {condition1("StringEquals", "vpce:Peer", `[["x"]]`), "must be a string"},
		"string as number":         {condition1("StringEquals", "vpce:Peer", `1`), "must be a string"},
		"number in words":          {condition1("NumericEquals", "vpce:Port", `"https"`), "is no number"},
		"hexadecimal":              {condition1("NumericEquals", "vpce:Port", `"0x1bb"`), "is no number"},
		"exponent":                 {condition1("NumericEquals", "vpce:Port", `1e999999`), "is no number"},
		"huge number":              {condition1("NumericEquals", "vpce:Port", strings.Repeat("9", 400)), "is no number"},
		"not a number":             {condition1("NumericEquals", "vpce:Port", `"NaN"`), "is no number"},
		"bool in capitals":         {condition1("Bool", "aws:SecureTransport", `"True"`), "neither true nor false"},
		"bool as number":           {condition1("Bool", "aws:SecureTransport", `1`), "must be a string"},
		"prefix length":            {condition1("IpAddress", "aws:SourceIp", `"10.0.0.0/33"`), "no address or CIDR block"},
		"bits beyond the length":   {condition1("IpAddress", "aws:SourceIp", `"10.0.0.1/8"`), `the block it lies in is "10.0.0.0/8"`},
		"octet":                    {condition1("IpAddress", "aws:SourceIp", `"10.0.0.256"`), "no address or CIDR block"},
		"leading zero":             {condition1("IpAddress", "aws:SourceIp", `"010.0.0.1"`), "no address or CIDR block"},
		"mapped address":           {condition1("IpAddress", "aws:SourceIp", `"::ffff:10.0.0.1"`), "no address or CIDR block"},
		"address with zone":        {condition1("IpAddress", "aws:SourceIp", `"fe80::1%eth0"`), "no address or CIDR block"},
		"wildcard address":         {condition1("IpAddress", "aws:SourceIp", `"10.0.*"`), "no address or CIDR block"},
		"American date":            {condition1("DateEquals", "aws:CurrentTime", `"01/31/2026"`), "is no date"},
		"day 32":                   {condition1("DateEquals", "aws:CurrentTime", `"2026-01-32"`), "is no date"},
		"no time zone":             {condition1("DateEquals", "aws:CurrentTime", `"2026-01-31T12:00:00"`), "is no date"},
		"leap second":              {condition1("DateEquals", "aws:CurrentTime", `"2026-01-31T23:59:60Z"`), "is no date"},
		"epoch too large":          {condition1("DateEquals", "aws:CurrentTime", `999999999999`), "is no date"},
		"epoch with decimals":      {condition1("DateEquals", "aws:CurrentTime", `1.5`), "is no date"},
		"short ARN value":          {condition1("ArnEquals", "aws:PrincipalArn", `"arn:aws:iam"`), "no ARN of six parts"},
		"half account value":       {condition1("ArnLike", "aws:PrincipalArn", `"arn:aws:iam::ac*:root"`), "an ID or *, not both"},
		"variable not closed":      {with(`"Resource":"arn:aws:s3:::${aws:SourceVpc/*"`), "has ${ without }"},
		"variable in variable":     {with(`"Resource":"arn:aws:s3:::${aws:${aws:SourceVpc}}/*"`), "variable inside a variable"},
		"unknown variable":         {with(`"Resource":"arn:aws:s3:::${aws:username}/*"`), "${aws:username} is not known"},
		"empty variable":           {with(`"Resource":"arn:aws:s3:::${}/*"`), "${} is not known"},
		"variable of a number":     {with(`"Resource":"arn:aws:s3:::${vpce:Port}/*"`), "${vpce:Port} is not known"},
		"variable with default":    {with(`"Resource":"arn:aws:s3:::${aws:SourceVpc, 'x'}/*"`), "default values"},
		"variable in old version":  {strings.Replace(with(`"Resource":"arn:aws:s3:::${aws:SourceVpc}/*"`), "2012", "2008", 1), "Version"},
		"control character":        {condition1("StringEquals", "vpce:Peer", `"a\u0000"`), "control character"},
		"half a surrogate pair":    {condition1("StringEquals", "vpce:Peer", `"\ud800"`), "surrogate"},
		"empty Sid":                {with(`"Sid":""`), "Sid: must be 1 to 128"},
		"Sid with hash":            {with(`"Sid":"#1"`), "Sid: must be 1 to 128"},
		"Sid of no statement":      {with(`"Sid":"implicit-deny"`), "when no statement decided"},
		"Sid twice":                {`{"Statement":[{"Sid":"a","Effect":"Deny","Principal":"*","Action":"*","Resource":"*"},{"Sid":"a","Effect":"Deny","Principal":"*","Action":"*","Resource":"*"}]}`, "Statement[1].Sid: \"a\" is the Sid of another statement"},
		"501 question marks":       {condition1("StringLike", "vpce:ServerName", `"abcdef`+strings.Repeat("?", 501)+`"`), "has 501 question marks"},
		"two mistakes":             {with(`"Effect":"allow"`, "-Principal"), "Effect: must be \"Allow\" or \"Deny\", in exactly this case; Statement[0]: Principal is missing"},
	} {
		p, err := Parse(c.text)
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		if p != nil {
			t.Errorf("%s: a policy comes with the error", name)
		}
		if !strings.Contains(err.Error(), c.says) || !strings.HasPrefix(err.Error(), "policy: ") {
			t.Errorf("%s: error %q does not say %q", name, err, c.says)
		}
		if len(err.Error()) > 4<<10 {
			t.Errorf("%s: error has %d bytes", name, len(err.Error()))
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Default)
	f.Add(with(`"Resource":"arn:aws:s3:::${aws:PrincipalAccount}-${*}/*"`, `"Condition":{"ForAllValues:StringLike":{"vpce:ServerName":"*.amazonaws.com"}}`))
	f.Add(condition1("DateLessThan", "aws:CurrentTime", `["2026-01-31",1]`))
	f.Add(condition1("ArnLike", "aws:PrincipalArn", `"arn:aws:iam::*:root"`))
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(text)
		if (p == nil) != (err != nil) {
			t.Fatalf("policy %v with error %v", p, err)
		}
		if err != nil {
			return
		}
		d := p.Decide(reports)
		if d.Statement == "" || d.NeedsHello {
			t.Fatalf("decision %+v of a whole request", d)
		}
	})
}
