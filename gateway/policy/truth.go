package policy

// truth is yes or no, or maybe while the server name is still to come.
type truth uint8

const (
	no truth = iota
	maybe
	yes
)

func truthOf(b bool) truth {
	if b {
		return yes
	}
	return no
}

func not(t truth) truth { return yes - t }
