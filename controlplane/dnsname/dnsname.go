// Package dnsname knows the DNS names that the control plane deals in: how those of endpoints are made, in AWS's
// form, and what providers and consumers may name. It is pure.
package dnsname

import (
	"errors"
	"fmt"
	"strings"
)

// The longest label and name (RFC 1035 section 2.3.4): 255 octets on the wire are 253 characters of text.
const (
	longestLabel = 63
	longestName  = 253
)

// wildcard begins names that stand for all below.
const wildcard = "*."

// CheckPrivate tells why name cannot be that of a service, in words that follow it: nil for two labels at least, in
// lower case, under a top-level domain, with or without "*." in front. Names within suffix are the endpoints' own.
func CheckPrivate(name, suffix string) error {
	domain := Domain(name)
	if err := checkLabels(domain, false); err != nil {
		return err
	}
	if len(name) > longestName {
		return fmt.Errorf("is longer than %d characters", longestName)
	}
	labels := strings.Split(domain, ".")
	top := labels[len(labels)-1]
	switch {
	case len(labels) < 2:
		return errors.New("is a single label; use a name of two labels at least, such as orders.example.com")
	case top == "localhost" || top == "local" || top == "arpa":
		return fmt.Errorf("lies below %s, which hosts resolve in ways of their own", top)
	case !isTop(top):
		return fmt.Errorf("does not end in a top-level domain: %q is none", top)
	case Within(domain, suffix):
		return fmt.Errorf("lies within %s, where the names of endpoints are", suffix)
	}
	return nil
}

// CheckForwarded tells why domain cannot have a forward rule, in words that follow it: nil for "." and for names in
// lower case. Labels may hold underscores, as those of services do (RFC 8552).
func CheckForwarded(domain string) error {
	if domain == "." {
		return nil
	}
	if err := checkLabels(domain, true); err != nil {
		return err
	}
	if len(domain) > longestName {
		return fmt.Errorf("is longer than %d characters", longestName)
	}
	return nil
}

// checkLabels looks at the characters and lengths of labels.
func checkLabels(name string, underscores bool) error {
	if name == "" {
		return errors.New("is empty")
	}
	if strings.HasSuffix(name, ".") {
		return errors.New("ends in a dot; leave it out")
	}
	for label := range strings.SplitSeq(name, ".") {
		switch {
		case label == "":
			return errors.New("has an empty label")
		case label == "*":
			return errors.New("has a wildcard where none may be: only the whole first label can be *")
		case len(label) > longestLabel:
			return fmt.Errorf("has a label of more than %d characters", longestLabel)
		case strings.ContainsAny(label, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"):
			return errors.New("has upper-case letters; use lower case")
		case label[0] == '-' || label[len(label)-1] == '-':
			return errors.New("has a label that begins or ends with a hyphen")
		case strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" && !(underscores && isUnderscored(label)):
			return errors.New("has other characters than letters, digits, hyphens and dots; write other scripts in their xn-- form")
		}
	}
	return nil
}

func isUnderscored(label string) bool {
	return strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}

// isTop says whether a label has the form of a top-level domain: letters only, or an internationalized one.
func isTop(label string) bool {
	return strings.Trim(label, "abcdefghijklmnopqrstuvwxyz") == "" || strings.HasPrefix(label, "xn--")
}

// Valid says whether name is a host name, with or without "*." in front, that DNS can carry.
func Valid(name string) bool {
	return len(name) <= longestName && checkLabels(Domain(name), false) == nil
}

// Domain gives a name without its wildcard.
func Domain(name string) string { return strings.TrimPrefix(name, wildcard) }

// Within says whether name is domain or lies below it.
func Within(name, domain string) bool {
	return name == domain || strings.HasSuffix(name, "."+domain)
}

// mostLookups bounds [Proving].
const mostLookups = 8

// Proving gives the domains of which each may prove that name is its owner's: the name's own and those above it
// down to two labels; of many, those next to the top.
func Proving(name string) []string {
	labels := strings.Split(Domain(name), ".")
	var domains []string
	for n := max(0, len(labels)-1-mostLookups); n+1 < len(labels); n++ {
		domains = append(domains, strings.Join(labels[n:], "."))
	}
	return domains
}
