package resource

import (
	"regexp"
	"slices"
	"strings"
)

// patternID is what an id chosen by a user looks like (AIP-122).
var patternID = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)

// patternUID is the AWS form: a prefix, a hyphen and 17 hexadecimal digits.
var patternUID = regexp.MustCompile(`^[a-z]+(-[a-z]+)*-[0-9a-f]{17}$`)

// IsID says whether text can be the last part of a name.
func IsID(text string) bool { return patternID.MatchString(text) }

// IsUID says whether text has the form of a uid. No name has it: names contain a slash.
func IsUID(text string) bool { return len(text) <= longestUID && patternUID.MatchString(text) }

const longestUID = 32

// AccountName gives the name of an account.
func AccountName(account string) string { return "accounts/" + account }

// Account gives the account that a full name belongs to, and "" for other text.
func Account(name string) string {
	segments := strings.SplitN(name, "/", 3)
	if len(segments) < 2 || segments[0] != "accounts" {
		return ""
	}
	return segments[1]
}

// Parent gives the name that a full name lies below: the account of a VPC, the VPC of a subnet. An
// account has none: "".
func Parent(name string) string {
	segments := splitName(name)
	if len(segments) < 4 {
		return ""
	}
	return strings.Join(segments[:len(segments)-2], "/")
}

// Name gives the full name of a resource of the kind below parent.
func (i *Info) Name(parent, id string) string {
	if parent == "" {
		return i.Collection + "/" + id
	}
	return parent + "/" + i.Collection + "/" + id
}

// Match says whether name is a full, well-formed name of the kind.
func (i *Info) Match(name string) bool { return match(i.pattern, splitName(name)) }

// Absent gives a name that no resource of the kind has or can have.
func (i *Info) Absent() string { return strings.ReplaceAll(strings.Join(i.pattern, "/"), "*", "-") }

// Pattern gives the form of the kind's names as users write it: "accounts/{account}/vpcs/{vpc}".
func (i *Info) Pattern() string { return spell(i.pattern) }

// below says whether resources of the kind lie below those of another, at any depth.
func (i *Info) below(other *Info) bool {
	return len(i.pattern) > len(other.pattern) && slices.Equal(other.pattern, i.pattern[:len(other.pattern)])
}

func splitName(name string) []string { return strings.Split(name, "/") }

func match(pattern, segments []string) bool {
	if len(pattern) != len(segments) {
		return false
	}
	for n, want := range pattern {
		if want == "*" && !IsID(segments[n]) || want != "*" && segments[n] != want {
			return false
		}
	}
	return true
}

func spell(pattern []string) string {
	parts := make([]string, len(pattern))
	for n, part := range pattern {
		if parts[n] = part; part == "*" {
			parts[n] = "{" + singular(pattern[n-1]) + "}"
		}
	}
	return strings.Join(parts, "/")
}

// singular makes "targetGroups" into "target_group".
func singular(collection string) string {
	var b strings.Builder
	for _, r := range strings.TrimSuffix(collection, "s") {
		if r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}
