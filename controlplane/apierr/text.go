package apierr

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Sizes in bytes. Ten violations of the largest size, the message (twice: once percent-encoded, up
// to three times its size) and the metadata, in base64, stay below 8 KiB.
const (
	maxViolations = 10
	maxMessage    = 512
	maxText       = 240
	maxFieldText  = 120
	maxNameText   = 240
)

const ellipsis = "…"

// clean makes text safe to show and to put in a protobuf string: what is not valid UTF-8 or not
// printable (controls, escapes, direction marks) becomes U+FFFD, and what is longer than limit bytes
// is cut between characters.
func clean(text string, limit int) string {
	if len(text) > 4*limit {
		text = text[:4*limit]
	}
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return utf8.RuneError
	}, text)
	if len(text) <= limit {
		return text
	}
	end := limit - len(ellipsis)
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + ellipsis
}
