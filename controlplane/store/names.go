package store

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	keySpace = "/causeway/v1/"

	segmentClaims   = "claims"
	segmentRequests = "requests"
	segmentGates    = "gates"
	segmentMeta     = "meta"
	segmentLeaders  = "leaders"

	metaFormat   = "format"
	metaTokenKey = "page-token-key"

	// maxNameBytes bounds resource names and claim keys, so that a key is always far below etcd's
	// request limit.
	maxNameBytes = 1024
)

func (s *Store) resourceKey(collection, name string) string {
	return s.root + collection + "/" + name
}

// parentPrefix is the prefix of all resources of a collection below parent, "" meaning all.
func (s *Store) parentPrefix(collection, parent string) string {
	if parent == "" {
		return s.root + collection + "/"
	}
	return s.root + collection + "/" + parent + "/"
}

func (s *Store) claimKey(kind, key string) string {
	return s.root + segmentClaims + "/" + kind + "/" + key
}

func (s *Store) requestKey(scope, id string) string {
	return s.root + segmentRequests + "/" + scope + "/" + id
}

func (s *Store) gateKey(kind, key string) string {
	return s.root + segmentGates + "/" + kind + "/" + key
}

func (s *Store) metaKey(name string) string {
	return s.root + segmentMeta + "/" + name
}

// splitKey is the inverse of the functions above: the collection (or claims, requests, gates, meta) and
// the rest. ok is false for a key that none of them makes.
func (s *Store) splitKey(key string) (segment, rest string, ok bool) {
	below, found := strings.CutPrefix(key, s.root)
	if !found {
		return "", "", false
	}
	segment, rest, found = strings.Cut(below, "/")
	return segment, rest, found && rest != ""
}

// checkName refuses what would make two resources share a key or a prefix: empty segments, and
// text that no log or terminal should be shown.
func checkName(name string) error {
	if err := checkText(name); err != nil {
		return err
	}
	if name[0] == '/' || name[len(name)-1] == '/' || strings.Contains(name, "//") {
		return fmt.Errorf("%w: resource name %q has an empty segment", ErrInvalid, name)
	}
	return nil
}

// checkSegment refuses what cannot be one segment of a key.
func checkSegment(s string) error {
	if err := checkText(s); err != nil {
		return err
	}
	if strings.Contains(s, "/") {
		return fmt.Errorf("%w: %q contains a slash", ErrInvalid, s)
	}
	return nil
}

func checkText(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("%w: empty name", ErrInvalid)
	case len(s) > maxNameBytes:
		return fmt.Errorf("%w: name of %d bytes, at most %d", ErrInvalid, len(s), maxNameBytes)
	case !utf8.ValidString(s):
		return fmt.Errorf("%w: name %q is not valid UTF-8", ErrInvalid, s)
	}
	for _, r := range s {
		if r < 0x20 || r == 0x7f {
			return fmt.Errorf("%w: name %q has a control character", ErrInvalid, s)
		}
	}
	return nil
}
