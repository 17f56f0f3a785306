package main

import (
	"fmt"
	"strconv"
	"strings"
)

// portRange is a range of UDP ports, both ends included, written first-last.
type portRange struct{ First, Last uint16 }

// UnmarshalText reads "51820-52819", or one port.
func (r *portRange) UnmarshalText(text []byte) error {
	first, last, ranged := strings.Cut(string(text), "-")
	if !ranged {
		last = first
	}
	var err error
	if r.First, err = parsePort(first); err != nil {
		return fmt.Errorf("port range %q: %w", text, err)
	}
	if r.Last, err = parsePort(last); err != nil {
		return fmt.Errorf("port range %q: %w", text, err)
	}
	if r.Last < r.First {
		return fmt.Errorf("port range %q: ends before it begins", text)
	}
	return nil
}

// MarshalText is the form that UnmarshalText reads.
func (r portRange) MarshalText() ([]byte, error) {
	return fmt.Appendf(nil, "%d-%d", r.First, r.Last), nil
}

func parsePort(text string) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is no port from 1 to 65535", text)
	}
	return uint16(n), nil
}
