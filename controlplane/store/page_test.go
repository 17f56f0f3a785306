package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func names[T any](items []Versioned[T]) []string {
	out := make([]string, len(items))
	for i, v := range items {
		out[i] = v.Name
	}
	return out
}

func TestListPagesOneRevision(t *testing.T) {
	s := openTest(t)
	ctx := testContext(t)
	var want []string
	for i := range 25 {
		name := fmt.Sprintf("a/%02d", i)
		create(t, s, things, name, name)
		want = append(want, name)
	}
	create(t, s, things, "ab/00", "a parent whose name begins alike")
	create(t, s, parts, "a/00", "another collection")

	var got []string
	opt := ListOptions{Parent: "a", PageSize: 10, Bind: "caller"}
	for pages := 0; ; pages++ {
		page, err := things.List(ctx, s, opt)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, names(page.Items)...)
		if page.NextPageToken == "" {
			break
		}
		// Writes between pages are not seen by the pages that follow.
		create(t, s, things, fmt.Sprintf("a/%02d-new", 9+10*pages), "")
		tx := s.Begin()
		v, err := things.Get(ctx, s, fmt.Sprintf("a/%02d", 24-pages))
		if err != nil {
			t.Fatal(err)
		}
		things.Delete(tx, v.Name, v.Revision)
		commit(t, tx)
		opt.PageToken = page.NextPageToken
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestListRefuses(t *testing.T) {
	s := openTest(t)
	ctx := testContext(t)
	for i := range 3 {
		create(t, s, things, fmt.Sprint("a/", i), "")
	}
	opt := ListOptions{Parent: "a", PageSize: 1, Bind: "caller"}
	page, err := things.List(ctx, s, opt)
	if err != nil {
		t.Fatal(err)
	}
	opt.PageToken = page.NextPageToken
	with := func(change func(*ListOptions)) ListOptions {
		changed := opt
		change(&changed)
		return changed
	}
	tests := []struct {
		name string
		opt  ListOptions
		want error
	}{
		{"OK", opt, nil},
		{"OK another page size", with(func(o *ListOptions) { o.PageSize = 1e9 }), nil},
		{"bad parent", with(func(o *ListOptions) { o.Parent = "b" }), ErrPageToken},
		{"bad caller", with(func(o *ListOptions) { o.Bind = "other" }), ErrPageToken},
		{"bad boundary of arguments", with(func(o *ListOptions) { o.Parent, o.Bind = "ac", "aller" }), ErrPageToken},
		{"bad cut token", with(func(o *ListOptions) { o.PageToken = o.PageToken[:10] }), ErrPageToken},
		{"bad text", with(func(o *ListOptions) { o.PageToken = "?" }), ErrPageToken},
		{"bad long token", with(func(o *ListOptions) { o.PageToken = strings.Repeat("A", 1<<20) }), ErrPageToken},
		{"bad page size", with(func(o *ListOptions) { o.PageSize = -1 }), ErrInvalid},
		{"bad parent name", with(func(o *ListOptions) { o.Parent = "a/" }), ErrInvalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := things.List(ctx, s, tt.opt); !errors.Is(err, tt.want) {
				t.Errorf("got error %v, want %v", err, tt.want)
			}
		})
	}
	t.Run("bad collection", func(t *testing.T) {
		_, err := parts.List(ctx, s, opt)
		wantErr(t, err, ErrPageToken)
	})
	t.Run("bad bit", func(t *testing.T) {
		for i := range opt.PageToken {
			flipped := []byte(opt.PageToken)
			flipped[i] ^= 1
			_, err := things.List(ctx, s, ListOptions{Parent: "a", Bind: "caller", PageToken: string(flipped)})
			wantErr(t, err, ErrPageToken)
		}
	})
	t.Run("compacted", func(t *testing.T) {
		now := create(t, s, things, "b", "")
		if _, err := s.client.Compact(ctx, now); err != nil {
			t.Fatal(err)
		}
		_, err := things.List(ctx, s, opt)
		wantErr(t, err, ErrCompacted)
	})
}

func FuzzPageToken(f *testing.F) {
	key := []byte("0123456789abcdef0123456789abcdef")
	args := tokenArgs{collection: "things", parent: "a"}
	f.Add(encodeToken(key, args, cursor{revision: 7, last: "a/b"}))
	f.Add("")
	f.Add("AQ")
	f.Fuzz(func(t *testing.T, token string) {
		cur, err := decodeToken(key, args, token)
		if err != nil {
			if !errors.Is(err, ErrPageToken) {
				t.Fatalf("error %v", err)
			}
			return
		}
		if cur.revision <= 0 || encodeToken(key, args, cur) != token {
			t.Fatalf("token %q passed as %+v", token, cur)
		}
	})
}
