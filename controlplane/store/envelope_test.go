package store

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func TestEnvelope(t *testing.T) {
	stored, err := encode(text("hello"))
	if err != nil {
		t.Fatal(err)
	}
	var back wrapperspb.StringValue
	if err := decode(stored, &back); err != nil || !proto.Equal(&back, text("hello")) {
		t.Fatalf("got %v, %v", &back, err)
	}
	for i := range stored {
		for bit := range 8 {
			flipped := bytes.Clone(stored)
			flipped[i] ^= 1 << bit
			if err := decode(flipped, &wrapperspb.StringValue{}); !errors.Is(err, ErrCorrupt) {
				t.Errorf("bit %d of byte %d flipped: %v", bit, i, err)
			}
		}
		if err := decode(stored[:i], &wrapperspb.StringValue{}); !errors.Is(err, ErrCorrupt) {
			t.Errorf("cut to %d bytes: %v", i, err)
		}
	}
	if err := decode(stored, &wrapperspb.BytesValue{}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("decoded as another message: %v", err)
	}
}

// seal gives payload a sound envelope, so that the fuzzer gets past the checksum.
func seal(m proto.Message, payload []byte) []byte {
	sum := checksum(m, payload)
	head := []byte{envelopeMagic, envelopeVersion, byte(sum), byte(sum >> 8), byte(sum >> 16), byte(sum >> 24)}
	return append(head, payload...)
}

func FuzzDecode(f *testing.F) {
	value, err := structpb.NewStruct(map[string]any{"a": []any{1, "b", nil, map[string]any{"c": true}}})
	if err != nil {
		f.Fatal(err)
	}
	stored, err := encode(value)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(stored)
	f.Add(stored[envelopeBytes:])
	f.Add([]byte(strings.Repeat("\x0a\x80", 1000)))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, stored := range [][]byte{data, seal(&structpb.Struct{}, data)} {
			var m structpb.Struct
			if err := decode(stored, &m); err != nil {
				if !errors.Is(err, ErrCorrupt) {
					t.Fatalf("error %v", err)
				}
				continue
			}
			again, err := encode(&m)
			if err != nil {
				continue // larger than a value may be, or text that is not UTF-8
			}
			if err := decode(again, &structpb.Struct{}); err != nil {
				t.Fatalf("does not decode after encoding: %v", err)
			}
		}
	})
}

func TestUndecodableIsLeftOut(t *testing.T) {
	var logged bytes.Buffer
	s := openTest(t)
	s.log = slog.New(slog.NewTextHandler(&logged, nil))
	ctx := testContext(t)
	create(t, s, things, "a", "sound")
	create(t, s, things, "c", "sound")
	if _, err := s.client.Put(ctx, s.resourceKey("things", "b"), "junk"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		page, err := things.List(ctx, s, ListOptions{})
		if err != nil || len(page.Items) != 2 {
			t.Fatalf("got %d items, %v", len(page.Items), err)
		}
	}
	_, err := things.Get(ctx, s, "b")
	wantErr(t, err, ErrCorrupt)
	if got := s.Quarantined(); got != 4 {
		t.Errorf("counted %d, want 4", got)
	}
	if got := strings.Count(logged.String(), "things/b"); got != 1 {
		t.Errorf("logged %d times, want once: %s", got, &logged)
	}
	// It can be replaced by what is sound.
	tx := s.Begin()
	things.Put(tx, "b", text("sound again"))
	commit(t, tx)
	if _, err := things.Get(ctx, s, "b"); err != nil {
		t.Error(err)
	}
}
