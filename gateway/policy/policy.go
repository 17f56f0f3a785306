package policy

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

const (
	// Default is the policy of an endpoint that was given none: full access.
	Default = `{"Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}]}`
	// MaxCharacters is how long a policy may be, white space included ("Quotas" in the AWS PrivateLink guide).
	MaxCharacters = 20480
	// MaxQuestionMarks is how many ? a policy may have as wildcards. Each may have to be tried at every character of a
	// server name, and more of them could make a decision take longer than a millisecond.
	MaxQuestionMarks = 500
)

// Policy is a policy in the form that connections are decided by. It is immutable and safe for concurrent use.
// The zero value denies everything.
type Policy struct{ statements []statement }

// statement is one statement. The parts of it are met together.
type statement struct {
	id         string // the Sid, or "#" and the number
	allow      bool
	principals principals
	actions    actions
	resources  resources
	conditions []condition
}

// Parse reads a policy. The error tells every mistake with its place in the text, such as Statement[0].Effect, and
// what would be right. What is not understood, or could not be enforced, is a mistake.
func Parse(text string) (*Policy, error) {
	if !utf8.ValidString(text) {
		return nil, errors.New("policy: text is not UTF-8")
	}
	if n := utf8.RuneCountInString(text); n > MaxCharacters {
		return nil, fmt.Errorf("policy: %d characters are more than %d", n, MaxCharacters)
	}
	root, err := readJSON(text)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	var c compiler
	p := c.policy(root)
	if c.questionMarks > MaxQuestionMarks {
		c.wrong(&root, "has %d question marks as wildcards, more than %d", c.questionMarks, MaxQuestionMarks)
	}
	if err := c.err(); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	return p, nil
}
