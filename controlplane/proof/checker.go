package proof

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"golang.org/x/sync/errgroup"

	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

// checkEvery is how often what is proven is looked for again.
const checkEvery = time.Hour

// checksAtOnce bounds how many proofs are looked for at a time.
const checksAtOnce = 16

// Config is what a [Checker] works with. Store and Logger are required.
type Config struct {
	Store *store.Store
	// Resolver is asked; nil is the host's.
	Resolver Resolver
	// Every is the time between two rounds; 0 is an hour.
	Every  time.Duration
	Logger *slog.Logger
	// Now replaces time.Now if it is not nil.
	Now func() time.Time
}

// Checker looks for the proofs of all services again. [Checker.Run] does the work.
type Checker struct{ cfg Config }

// NewChecker makes a checker that does nothing until [Checker.Run].
func NewChecker(cfg Config) *Checker {
	if cfg.Resolver == nil {
		cfg.Resolver = net.DefaultResolver
	}
	if cfg.Every == 0 {
		cfg.Every = checkEvery
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Checker{cfg: cfg}
}

// Run looks for what is proven, in rounds, until ctx ends, and returns nil then. A proof that is gone has FAILED. Only
// then is anything written: a service's etag does not change by the hour. Several checkers may run on one store.
func (c *Checker) Run(ctx context.Context) error {
	ticker := time.NewTicker(c.cfg.Every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := c.round(ctx); err != nil && ctx.Err() == nil {
			c.cfg.Logger.Error("proofs of private DNS names not checked", "error", err)
		}
	}
}

// round looks for every proof that there is.
func (c *Checker) round(ctx context.Context) error {
	services, _, err := resource.EndpointServices.ReadAll(ctx, c.cfg.Store, "")
	if err != nil {
		return fmt.Errorf("read endpoint services: %w", err)
	}
	var checks errgroup.Group
	checks.SetLimit(checksAtOnce)
	for _, e := range services {
		service := e.Message.(*pb.EndpointService)
		if service.GetPrivateDnsNameVerification().GetState() != pb.PrivateDnsNameVerification_VERIFIED || resource.Deleting(service) {
			continue
		}
		checks.Go(func() error { return c.check(ctx, e.Name, service.GetPrivateDnsNameVerification()) })
	}
	return checks.Wait()
}

// check looks for one proof and notes that it is gone. If somebody writes the service meanwhile, the next round sees
// what came of it.
func (c *Checker) check(ctx context.Context, name string, asked *pb.PrivateDnsNameVerification) error {
	found := Look(ctx, c.cfg.Resolver, asked)
	if found.proven || found.open || ctx.Err() != nil {
		return nil
	}
	kind := resource.EndpointServices
	v, err := kind.Get(ctx, c.cfg.Store, name)
	if errors.Is(err, store.ErrNotFound) || err == nil && !Same(v.Value.GetPrivateDnsNameVerification(), asked) {
		return nil
	}
	if err != nil {
		return err
	}
	found.Note(v.Value.GetPrivateDnsNameVerification(), c.cfg.Now())
	tx := c.cfg.Store.Begin()
	kind.Update(tx, name, v.Value, v.Revision)
	if _, err = tx.Commit(ctx); errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err == nil {
		c.cfg.Logger.Info("proof of a private DNS name has lapsed", "service", name, "domain", asked.GetDomain())
	}
	return err
}
