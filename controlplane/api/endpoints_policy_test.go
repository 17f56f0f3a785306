package api

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"causeway/controlplane/resource"
	"causeway/gateway/policy"
	pb "causeway/proto/causeway/v1"
)

const readOnly = `{"Statement":[{"Sid":"reports","Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::reports/*"}]}`

// TestEndpointPolicy gives an endpoint policies and takes them away again.
func TestEndpointPolicy(t *testing.T) {
	s := newShop(t)
	s.offer("a")
	made, err := s.endpoint("e", "a")
	must(t, err)
	want := func(e *pb.Endpoint, text, stored string, dryRun bool) {
		t.Helper()
		v, err := resource.Endpoints.Get(t.Context(), sharedStore, e.GetName())
		must(t, err)
		if e.GetPolicy() != text || e.GetPolicyDryRun() != dryRun || v.Value.GetPolicy() != stored {
			t.Errorf("policy %q, dry run %v, stored %q; want %q, %v, %q", e.GetPolicy(), e.GetPolicyDryRun(), v.Value.GetPolicy(), text, dryRun, stored)
		}
	}
	update := func(e *pb.Endpoint, paths ...string) (*pb.Endpoint, error) {
		e.Name = made.GetName()
		return s.eps.UpdateEndpoint(s.ctx, &pb.UpdateEndpointRequest{Endpoint: e, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}})
	}
	want(made, policy.Default, "", false)
	again, err := update(&pb.Endpoint{Policy: made.GetPolicy()})
	must(t, err)
	if want(again, policy.Default, "", false); again.GetEtag() != made.GetEtag() {
		t.Error("the default policy sent back is a change")
	}
	got, err := update(&pb.Endpoint{Policy: readOnly, PolicyDryRun: new(true)})
	must(t, err)
	want(got, readOnly, readOnly, true)
	got, err = update(&pb.Endpoint{PolicyDryRun: new(false)})
	must(t, err)
	want(got, readOnly, readOnly, false)
	got, err = update(&pb.Endpoint{}, "policy")
	must(t, err)
	want(got, policy.Default, "", false)
	got, err = s.create("vpcs/prod", "strict", &pb.Endpoint{ServiceName: "endpointServices/orders", Subnets: []string{"vpcs/prod/subnets/a"}, Policy: readOnly})
	must(t, err)
	want(got, readOnly, readOnly, false)
}

// TestEndpointPolicyIsCheckedWhenItIsWritten has the parser's words in the answer. What it refuses is its
// own tests' matter.
func TestEndpointPolicyIsCheckedWhenItIsWritten(t *testing.T) {
	s := newShop(t)
	s.offer("a")
	made, err := s.endpoint("e", "a")
	must(t, err)
	longest := readOnly + strings.Repeat(" ", policy.MaxCharacters-len(readOnly))
	for name, text := range map[string]string{
		"not JSON":         "allow everybody",
		"no policy":        "null",
		"no statement":     "{}",
		"no principal":     `{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`,
		"effect":           strings.Replace(readOnly, "Allow", "allow", 1),
		"twice":            strings.Replace(readOnly, `"Sid":"reports"`, `"Effect":"Deny"`, 1),
		"trailing":         readOnly + "{}",
		"20481 characters": longest + " ",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.create("vpcs/prod", "x", &pb.Endpoint{ServiceName: "endpointServices/orders", Subnets: []string{"vpcs/prod/subnets/a"}, Policy: text})
			wantField(t, err, "endpoint.policy")
			_, err = s.eps.UpdateEndpoint(s.ctx, &pb.UpdateEndpointRequest{Endpoint: &pb.Endpoint{Name: made.GetName(), Policy: text}})
			wantField(t, err, "endpoint.policy")
			_, parsed := policy.Parse(text)
			if parsed == nil {
				t.Fatal("the parser takes it")
			}
			if why, _, _ := strings.Cut(strings.TrimPrefix(parsed.Error(), "policy: "), "\n"); name != "20481 characters" && !strings.Contains(err.Error(), why) {
				t.Errorf("error %q does not say %q", err, why)
			}
		})
	}
	must(t, errOf(s.eps.UpdateEndpoint(s.ctx, &pb.UpdateEndpointRequest{Endpoint: &pb.Endpoint{Name: made.GetName(), Policy: longest}})))
}
