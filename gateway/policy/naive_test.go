package policy

import (
	"encoding/json"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The evaluator here is written from IAM's rules and docs/policies.md, with package regexp and the maps of package
// json. It shares nothing with the one it is compared with.

var automata = map[string]*regexp.Regexp{}

// reference is a pattern of * and ? as a regular expression.
func reference(pattern string) *regexp.Regexp {
	return compiledOnce(toExpression(pattern, Request{}, false))
}

func compiledOnce(expression string) *regexp.Regexp {
	re := automata[expression]
	if re == nil {
		re = regexp.MustCompile(`(?s)\A(?:` + expression + `)\z`)
		automata[expression] = re
	}
	return re
}

var variableForm = regexp.MustCompile(`\$\{([^}]*)\}|\*|\?`)

// unknowable is an expression that matches nothing.
const unknowable = `[^\x00-\x{10FFFF}]`

// toExpression makes a regular expression of a pattern with variables.
func toExpression(pattern string, r Request, literal bool) string {
	var b strings.Builder
	at := 0
	if !strings.ContainsAny(pattern, "*?$") {
		return regexp.QuoteMeta(pattern)
	}
	for _, found := range variableForm.FindAllStringSubmatchIndex(pattern, -1) {
		b.WriteString(regexp.QuoteMeta(pattern[at:found[0]]))
		at = found[1]
		token := pattern[found[0]:found[1]]
		switch {
		case token == "*" && !literal:
			b.WriteString(".*")
		case token == "?" && !literal:
			b.WriteString(".")
		case token == "*" || token == "?":
			b.WriteString(regexp.QuoteMeta(token))
		default:
			name := pattern[found[2]:found[3]]
			if name == "*" || name == "?" || name == "$" {
				b.WriteString(regexp.QuoteMeta(name))
				continue
			}
			value, ok := naiveContext(r)[strings.ToLower(name)]
			if !ok {
				return unknowable
			}
			b.WriteString(regexp.QuoteMeta(value))
		}
	}
	b.WriteString(regexp.QuoteMeta(pattern[at:]))
	return b.String()
}

// naiveContext is the request's context: every key that has a value.
func naiveContext(r Request) map[string]string {
	m := map[string]string{}
	put := func(key, value string) {
		if value != "" {
			m[strings.ToLower(key)] = value
		}
	}
	put("aws:SourceVpc", r.VPC)
	put("aws:SourceVpce", r.Endpoint)
	put("aws:SourceAccount", r.Account)
	put("aws:PrincipalAccount", r.Account)
	put("aws:ResourceAccount", r.Service.Account)
	put("vpce:Peer", r.Peer)
	put("vpce:PeerKind", r.PeerKind)
	put("vpce:Vpc", r.VPCName)
	put("vpce:AvailabilityZone", r.Zone)
	put("vpce:Service", r.Service.Name)
	put("vpce:ServerName", r.ServerName)
	put("aws:SecureTransport", strconv.FormatBool(r.TLS))
	if r.Account != "" {
		put("aws:PrincipalArn", "arn:aws:iam::"+r.Account+":root")
	}
	if r.Service.UID != "" {
		put("vpce:ServiceArn", "arn:aws:vpce:"+r.Service.Region+":"+r.Service.Account+":"+r.Service.UID)
	}
	if r.Port != 0 {
		put("vpce:Port", strconv.Itoa(int(r.Port)))
	}
	if r.Source.IsValid() {
		put("aws:SourceIp", r.Source.String())
		put("aws:VpcSourceIp", r.Source.String())
	}
	if !r.Time.IsZero() {
		put("aws:CurrentTime", r.Time.Format(time.RFC3339))
		put("aws:EpochTime", strconv.FormatInt(r.Time.Unix(), 10))
	}
	return m
}

// strings1 gives the texts of a value that may be one or several.
func strings1(v any) []string {
	var list []string
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			list = append(list, strings1(e)...)
		}
	case string:
		list = append(list, v)
	case bool:
		list = append(list, strconv.FormatBool(v))
	case json.Number:
		list = append(list, v.String())
	}
	return list
}

// naiveStatements reads a policy.
func naiveStatements(policy string) []map[string]any {
	decoder := json.NewDecoder(strings.NewReader(policy))
	decoder.UseNumber()
	var document struct{ Statement []map[string]any }
	if err := decoder.Decode(&document); err != nil {
		panic(err)
	}
	return document.Statement
}

// naive decides: some Allow, no Deny.
func naive(statements []map[string]any, r Request) bool {
	allowed := false
	for _, s := range statements {
		deny := s["Effect"] == "Deny"
		if !naivePrincipal(s, r) || !naiveAction(s, r, deny) || !naiveResource(s, r, deny) || !naiveConditions(s, r) {
			continue
		}
		if deny {
			return false
		}
		allowed = true
	}
	return allowed
}

func naivePrincipal(s map[string]any, r Request) bool {
	among := func(v any) bool {
		if m, ok := v.(map[string]any); ok {
			v = m["AWS"]
		}
		for _, p := range strings1(v) {
			p = strings.TrimSuffix(strings.TrimPrefix(p, "arn:aws:iam::"), ":root")
			if p == "*" || r.Account != "" && p == r.Account {
				return true
			}
		}
		return false
	}
	if v, ok := s["NotPrincipal"]; ok {
		return !among(v)
	}
	return among(s["Principal"])
}

var naiveNames = []struct {
	service string
	form    *regexp.Regexp // region and resource by name
}{
	{"s3", regexp.MustCompile(`^(?:(?P<resource>.+)\.)?s3(?:\.dualstack)?\.(?P<region>[a-z]+(?:-[a-z]+)+-[0-9])\.amazonaws\.com$`)},
	{"s3", regexp.MustCompile(`^(?:(?P<resource>.+)\.)?s3\.amazonaws\.com$`)},
	{"kinesis", regexp.MustCompile(`^(?:kinesis|[0-9]+\.(?:data|control)-kinesis)\.(?P<region>[a-z]+(?:-[a-z]+)+-[0-9])\.amazonaws\.com$`)},
	{"execute-api", regexp.MustCompile(`^(?P<resource>.+)\.execute-api\.(?P<region>[a-z]+(?:-[a-z]+)+-[0-9])\.amazonaws\.com$`)},
}

func naiveName(serverName string) (service, region, resource string) {
	for _, n := range naiveNames {
		found := n.form.FindStringSubmatch(serverName)
		if found == nil {
			continue
		}
		if i := n.form.SubexpIndex("region"); i >= 0 {
			region = found[i]
		}
		if i := n.form.SubexpIndex("resource"); i >= 0 {
			resource = found[i]
		}
		return n.service, region, resource
	}
	return "", "", ""
}

// carried are actions of every service that stand for all that it may have.
var carried = []string{"GetObject", "PutObjectX", "PutRecord", "Zq9", "A", "Invoke"}

func naiveAction(s map[string]any, r Request, deny bool) bool {
	service, _, _ := naiveName(r.ServerName)
	covers := func(patterns []string, action string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool {
			return reference(strings.ToLower(p)).MatchString(strings.ToLower(action))
		})
	}
	some := func(patterns []string) bool {
		return covers(patterns, "vpce:Connect") ||
			service != "" && slices.ContainsFunc(carried, func(a string) bool { return covers(patterns, service+":"+a) })
	}
	all := func(patterns []string) bool {
		return covers(patterns, "vpce:Connect") ||
			service != "" && slices.ContainsFunc(patterns, func(p string) bool {
				return !slices.ContainsFunc(carried, func(a string) bool { return !covers([]string{p}, service+":"+a) })
			})
	}
	listed, not := s["NotAction"]
	switch {
	case not && deny:
		return !some(strings1(listed))
	case not:
		return !all(strings1(listed))
	case deny:
		return all(strings1(s["Action"]))
	}
	return some(strings1(s["Action"]))
}

func naiveResource(s map[string]any, r Request, deny bool) bool {
	listed, not := s["NotResource"]
	if !not {
		listed = s["Resource"]
	}
	found := slices.ContainsFunc(strings1(listed), func(p string) bool { return naivePattern(p, r, deny == not) })
	return found != not
}

// naivePattern tells whether a resource pattern means the connection, for admitting it or for refusing it.
func naivePattern(pattern string, r Request, admit bool) bool {
	if pattern == "*" {
		return true
	}
	is := func(pattern, text string) bool {
		return compiledOnce(toExpression(pattern, r, false)).MatchString(text)
	}
	// Variables have colons of their own.
	hidden := variableForm.ReplaceAllStringFunc(pattern, func(s string) string { return strings.ReplaceAll(s, ":", "\x01") })
	parts := strings.SplitN(hidden, ":", 6)
	for i := range parts {
		parts[i] = strings.ReplaceAll(parts[i], "\x01", ":")
	}
	first, rest, slash := strings.Cut(parts[5], "/")
	if parts[2] == "vpce" {
		return is(parts[3], r.Service.Region) && is(parts[4], r.Service.Account) && is(first, r.Service.UID) &&
			(!slash || is(rest, strconv.Itoa(int(r.Port))))
	}
	service, region, resource := naiveName(r.ServerName)
	if service != parts[2] {
		return false
	}
	everything := !slash || is(rest, "any") && is(rest, "")
	if service == "s3" {
		if !admit && !everything {
			return false
		}
		if resource == "" {
			return !admit || first == "*"
		}
		return is(first, resource)
	}
	if !admit && (parts[4] != "*" || !everything || service == "kinesis" && first != "*") {
		return false
	}
	return is(parts[3], region) && (service == "kinesis" || is(first, resource))
}

func naiveConditions(s map[string]any, r Request) bool {
	operators, _ := s["Condition"].(map[string]any)
	for operator, keys := range operators {
		for key, values := range keys.(map[string]any) {
			if !naiveCondition(operator, strings.ToLower(key), strings1(values), r) {
				return false
			}
		}
	}
	return true
}

func naiveCondition(operator, key string, wanted []string, r Request) bool {
	have, there := naiveContext(r)[key]
	if operator == "Null" {
		return slices.Contains(wanted, strconv.FormatBool(!there))
	}
	operator, all := strings.CutPrefix(operator, "ForAllValues:")
	operator, some := strings.CutPrefix(operator, "ForAnyValue:")
	operator, ifExists := strings.CutSuffix(operator, "IfExists")
	negated := strings.Contains(operator, "Not")
	if !there {
		return all || !some && (ifExists || negated)
	}
	matches := slices.ContainsFunc(wanted, func(w string) bool { return naiveCompare(strings.Replace(operator, "Not", "", 1), have, w, r) })
	return matches != negated
}

func naiveCompare(operator, have, want string, r Request) bool {
	switch operator {
	case "StringEquals":
		return compiledOnce(toExpression(want, r, true)).MatchString(have)
	case "StringEqualsIgnoreCase":
		return compiledOnce("(?i:" + toExpression(want, r, true) + ")").MatchString(have)
	case "StringLike":
		return compiledOnce(toExpression(want, r, false)).MatchString(have)
	case "ArnEquals", "ArnLike":
		// No part of an ARN has a colon, but the last.
		expression := strings.ReplaceAll(toExpression(want, r, false), ".*", "[^:]*")
		return compiledOnce(expression).MatchString(have)
	case "Bool":
		return have == want
	case "IpAddress":
		if !strings.Contains(want, "/") {
			return netip.MustParseAddr(want) == netip.MustParseAddr(have)
		}
		return netip.MustParsePrefix(want).Contains(netip.MustParseAddr(have))
	}
	a, b := naiveNumber(have), naiveNumber(want)
	switch strings.TrimPrefix(strings.TrimPrefix(operator, "Numeric"), "Date") {
	case "Equals":
		return a == b
	case "LessThan":
		return a < b
	case "LessThanEquals":
		return a <= b
	case "GreaterThan":
		return a > b
	case "GreaterThanEquals":
		return a >= b
	}
	panic(operator)
}

// naiveNumber reads a number, or a date as seconds.
func naiveNumber(text string) float64 {
	if f, err := strconv.ParseFloat(text, 64); err == nil {
		return f
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return float64(t.Unix())
}
