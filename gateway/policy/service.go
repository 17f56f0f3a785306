package policy

import (
	"maps"
	"slices"
	"strings"
)

// suffix ends the names of AWS services in the partition "aws"
// (https://docs.aws.amazon.com/general/latest/gr/rande.html).
const suffix = ".amazonaws.com"

// service is an AWS service as far as its names tell.
type service struct {
	// word is its name in ARNs and actions.
	word string
	// names are what stands before the suffix: labels, {region}, {account}, and {resource} for one or more
	// labels that name what the connection is for.
	names []string
	// globalRegion is that of names without a region; empty where ARNs of the service have none.
	globalRegion string
	// named tells that the first part of the resource in an ARN, up to a slash, is what names have as {resource}.
	// Names without it reach all resources.
	named bool
	// bare tells that ARNs have neither region nor account.
	bare bool
}

// known are the services that policies may be about. More are easily added: a line here and one in docs/policies.md.
var known = []service{
	{word: "cloudwatch", names: []string{"monitoring.{region}"}},
	{word: "dynamodb", names: []string{"dynamodb.{region}", "{account}.ddb.{region}"}},
	{word: "ec2", names: []string{"ec2.{region}", "ec2"}, globalRegion: "us-east-1"},
	{word: "ecr", names: []string{"api.ecr.{region}", "{account}.dkr.ecr.{region}"}},
	{word: "events", names: []string{"events.{region}"}},
	{word: "execute-api", names: []string{"{resource}.execute-api.{region}"}, named: true},
	{word: "firehose", names: []string{"firehose.{region}"}},
	{word: "kinesis", names: []string{"kinesis.{region}", "{account}.data-kinesis.{region}", "{account}.control-kinesis.{region}"}},
	{word: "kms", names: []string{"kms.{region}"}},
	{word: "lambda", names: []string{"lambda.{region}"}},
	{word: "logs", names: []string{"logs.{region}"}},
	{word: "s3", names: []string{
		"{resource}.s3.{region}", "s3.{region}", "{resource}.s3.dualstack.{region}", "s3.dualstack.{region}", "{resource}.s3", "s3",
	}, named: true, bare: true},
	{word: "secretsmanager", names: []string{"secretsmanager.{region}"}},
	{word: "sns", names: []string{"sns.{region}"}},
	{word: "sqs", names: []string{"sqs.{region}"}},
	{word: "ssm", names: []string{"ssm.{region}"}},
	{word: "states", names: []string{"states.{region}"}},
	{word: "sts", names: []string{"sts.{region}", "sts"}, globalRegion: "us-east-1"},
}

// services are those known, by word.
var services = byWord(known)

func byWord(list []service) map[string]*service {
	m := map[string]*service{}
	for i := range list {
		m[list[i].word] = &list[i]
	}
	return m
}

// serviceNames lists the words, for messages.
func serviceNames() string { return strings.Join(slices.Sorted(maps.Keys(services)), ", ") }

// name is what a server name tells of a connection.
type name struct {
	// pending tells that the name is still to come.
	pending bool
	// service is nil for a name of none, or no name.
	service  *service
	region   string
	resource string // empty for all
}

// nameOf reads a server name.
func nameOf(serverName string) name {
	rest, ours := strings.CutSuffix(serverName, suffix)
	if !ours || strings.HasPrefix(rest, ".") {
		return name{}
	}
	var found name
	for i := range known {
		for _, form := range known[i].names {
			// A label that a form spells out is no part of a resource.
			if n, ok := known[i].read(form, rest); ok && (found.service == nil || len(n.resource) < len(found.resource)) {
				found = n
			}
		}
	}
	return found
}

// read matches a name, from its end, with one of the service's forms.
func (s *service) read(form, text string) (name, bool) {
	n := name{service: s, region: s.globalRegion}
	for form != "" {
		var want, label string
		form, want = cutLast(form)
		if want == "{resource}" { // always the first
			n.resource = text
			return n, text != ""
		}
		text, label = cutLast(text)
		switch want {
		case "{region}":
			n.region = label
			if !validRegion(label) {
				return n, false
			}
		case "{account}":
			if !validAccount(label) {
				return n, false
			}
		default:
			if label != want {
				return n, false
			}
		}
	}
	return n, text == ""
}

// cutLast takes off the last label.
func cutLast(text string) (before, label string) {
	i := strings.LastIndexByte(text, '.')
	if i < 0 {
		return "", text
	}
	return text[:i], text[i+1:]
}

// validRegion tells regions, such as us-east-1, from the words of other names.
func validRegion(text string) bool {
	return strings.Count(text, "-") >= 2 && digit(rune(text[len(text)-1])) && validAccount(text)
}
