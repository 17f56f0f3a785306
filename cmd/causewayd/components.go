package main

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"
)

// component is a part of the daemon that runs until its context ends.
type component struct {
	name string
	run  func(context.Context) error
}

// runComponents runs all until ctx ends or one of them fails. Then it ends them one after another,
// the last first: each still has those before it while it ends. It returns the first error.
func runComponents(ctx context.Context, components ...component) error {
	group, ctx := errgroup.WithContext(ctx)
	after := make(chan struct{})
	close(after)
	for _, c := range slices.Backward(components) {
		later, done := after, make(chan struct{})
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		group.Go(func() error {
			defer close(done)
			defer cancel()
			if err := c.run(own); err != nil {
				return fmt.Errorf("run %s: %w", c.name, err)
			}
			if ctx.Err() == nil {
				return fmt.Errorf("run %s: it ended by itself", c.name)
			}
			return nil
		})
		group.Go(func() error {
			<-ctx.Done()
			<-later
			cancel()
			return nil
		})
		after = done
	}
	return group.Wait()
}
