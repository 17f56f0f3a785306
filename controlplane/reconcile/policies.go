package reconcile

import "causeway/gateway/policy"

// policyChecks remembers whether the policies of the last compilation can be read: to read the longest
// takes milliseconds, and from one compilation to the next hardly any is new. It is used by one goroutine.
type policyChecks struct{ last, now map[string]error }

// begin starts a compilation and forgets what the last one did not ask for.
func (c *policyChecks) begin() { c.last, c.now = c.now, map[string]error{} }

// check tells why a policy cannot be read.
func (c *policyChecks) check(text string) error {
	err, known := c.now[text]
	if !known {
		err, known = c.last[text]
	}
	if !known {
		_, err = policy.Parse(text)
	}
	c.now[text] = err
	return err
}
