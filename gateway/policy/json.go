package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxDepth is far beyond the grammar's own five levels.
const maxDepth = 16

// node is a JSON value and its place in the text. Package json by itself takes the last of several equal keys, which
// would let a policy say one thing to its reader and another to the gateway.
type node struct {
	path    string
	value   any // string, bool, json.Number or nil
	isArray bool
	array   []node
	members []member // in order; nil unless it is an object
	object  bool
}

type member struct {
	key   string
	value node
}

// readJSON reads exactly one JSON value.
func readJSON(text string) (node, error) {
	if strings.HasPrefix(text, "\uFEFF") {
		return node{}, errors.New("text begins with a byte order mark, which JSON does not allow")
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	root, err := readNode(decoder, "", 0)
	if err != nil {
		return node{}, describe(decoder, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return node{}, fmt.Errorf("something follows the policy's closing brace, near byte %d", decoder.InputOffset())
	}
	return root, nil
}

// describe puts errors of package json into words.
func describe(d *json.Decoder, err error) error {
	var syntax *json.SyntaxError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("text is not JSON: it ends too early")
	case errors.As(err, &syntax):
		return fmt.Errorf("text is not JSON: %s near byte %d", syntax.Error(), d.InputOffset())
	}
	return err
}

func readNode(d *json.Decoder, path string, depth int) (node, error) {
	token, err := d.Token()
	if err != nil {
		return node{}, err
	}
	n := node{path: path, value: token}
	delim, nested := token.(json.Delim)
	if !nested {
		return n, nil
	}
	if depth == maxDepth {
		return node{}, fmt.Errorf("%s: nested deeper than a policy can be", n.place())
	}
	n.value = nil
	if delim == '[' {
		return n, n.readArray(d, depth)
	}
	return n, n.readObject(d, depth)
}

func (n *node) readArray(d *json.Decoder, depth int) error {
	n.isArray = true
	for d.More() {
		e, err := readNode(d, fmt.Sprintf("%s[%d]", n.path, len(n.array)), depth+1)
		if err != nil {
			return err
		}
		n.array = append(n.array, e)
	}
	_, err := d.Token()
	return err
}

func (n *node) readObject(d *json.Decoder, depth int) error {
	n.object = true
	seen := map[string]bool{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return err
		}
		key := token.(string)
		if seen[key] {
			return fmt.Errorf("%s: is there twice", n.child(key))
		}
		seen[key] = true
		value, err := readNode(d, n.child(key), depth+1)
		if err != nil {
			return err
		}
		n.members = append(n.members, member{key, value})
	}
	_, err := d.Token()
	return err
}

// child is the path of a member.
func (n *node) child(key string) string {
	for _, c := range key {
		if len(key) > 40 || !letter(c) && !digit(c) {
			return fmt.Sprintf("%s[%.80q]", n.path, key)
		}
	}
	if n.path == "" {
		return key
	}
	return n.path + "." + key
}

// place is the path, for messages.
func (n *node) place() string {
	if n.path == "" {
		return "policy"
	}
	return n.path
}

// list gives the elements of an array, or the one value that may stand in its place.
func (n *node) list() []node {
	if n.isArray {
		return n.array
	}
	return []node{*n}
}

func letter(c rune) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

func digit(c rune) bool { return c >= '0' && c <= '9' }
