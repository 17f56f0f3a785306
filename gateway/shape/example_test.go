package shape_test

import (
	"fmt"

	"causeway/gateway/shape"
)

type relay struct{ share shape.Share }

// Ready is where a relay queues the flow for another visit.
func (r *relay) Ready(shape.Direction) {}

func ExampleShare() {
	budget, err := shape.New(shape.Config{Limits: shape.Limits{
		BaselineBitsPerSecond: 50_000_000,
		MaximumBitsPerSecond:  200_000_000,
	}})
	if err != nil {
		panic(err)
	}
	r := &relay{}
	budget.Join(&r.share, shape.Egress, r)
	defer r.share.Leave()

	granted := r.share.Take(32 << 10)
	moved := granted - 1000 // the socket took less
	r.share.Refund(granted - moved)
	fmt.Println(moved, budget.Usage(shape.Egress).MovedBytes)
	// Output: 31768 31768
}
