package store

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// keepaliveTime is the shortest that grpc-go takes (it raises less to this) and twice what etcd
	// servers tolerate by default.
	keepaliveTime = 10 * time.Second
	// keepaliveTimeout is also set as TCP_USER_TIMEOUT on each connection by grpc-go: a member that
	// is gone without a word is left this long after a request to it goes unacknowledged.
	keepaliveTimeout = 2 * time.Second
)

// ClusterConfig names an existing etcd cluster. Its servers need nothing beyond their defaults;
// --max-txn-ops may be raised, see [WithMaxTxnOps]. Causeway does not use etcd's roles: whoever has
// these credentials has everything, and the API alone decides who may do what.
type ClusterConfig struct {
	// Endpoints are the members' client URLs: "https://10.0.0.1:2379".
	Endpoints []string
	// TLS holds the client certificate and the CAs that the members' certificates are checked
	// against. It is required.
	TLS *tls.Config
	// Prefix comes before every key, so that several installations can share a cluster: "" or
	// "/name". It must not end in a slash.
	Prefix string
}

// OpenCluster opens the store on an existing etcd cluster. It returns when the cluster has answered,
// or with ErrUnavailable, or when ctx ends; ctx does not bound the store's life. The loss of a member
// that others can replace costs at most the request in flight: reads are repeated on another member,
// a write gives ErrUnavailable if it is not known to have had no effect.
func OpenCluster(ctx context.Context, cfg ClusterConfig, logger *slog.Logger, opts ...Option) (*Store, error) {
	if err := checkCluster(cfg); err != nil {
		return nil, fmt.Errorf("open store on etcd cluster: %w", err)
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints:            cfg.Endpoints,
		TLS:                  cfg.TLS,
		DialKeepAliveTime:    keepaliveTime,
		DialKeepAliveTimeout: keepaliveTimeout,
		PermitWithoutStream:  true,
		Logger:               newZapLogger(logger, newFailure()).zap,
	})
	if err != nil {
		return nil, fmt.Errorf("open store on etcd cluster: %w", err)
	}
	s := &Store{
		client:        client,
		root:          cfg.Prefix + keySpace,
		log:           logger,
		opts:          newOptions(MaxTxnOps, opts),
		readTimeout:   clusterReadTimeout,
		readTries:     clusterReadTries,
		writeTimeout:  clusterWriteTimeout,
		requireLeader: true,
		shutdown:      func() error { return nil },
	}
	if err := s.prepare(ctx, s.root); err != nil {
		return nil, errors.Join(fmt.Errorf("open store on etcd cluster: %w", err), s.Close())
	}
	return s, nil
}

func checkCluster(cfg ClusterConfig) error {
	switch {
	case len(cfg.Endpoints) == 0:
		return fmt.Errorf("%w: no endpoints", ErrInvalid)
	case cfg.TLS == nil:
		return fmt.Errorf("%w: no client certificate", ErrInvalid)
	case strings.HasSuffix(cfg.Prefix, "/"):
		return fmt.Errorf("%w: key prefix %q ends in a slash", ErrInvalid, cfg.Prefix)
	}
	for _, endpoint := range cfg.Endpoints {
		if !strings.HasPrefix(endpoint, "https://") {
			return fmt.Errorf("%w: endpoint %q is not an https URL", ErrInvalid, endpoint)
		}
	}
	return nil
}
