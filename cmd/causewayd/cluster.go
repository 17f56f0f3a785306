package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"causeway/controlplane/store"
)

// clusterConfig reads the credentials for an etcd cluster.
func clusterConfig(cfg storeConfig) (store.ClusterConfig, error) {
	authority, err := os.ReadFile(cfg.CA)
	if err != nil {
		return store.ClusterConfig{}, fmt.Errorf("read store.ca: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return store.ClusterConfig{}, errors.New("read store.ca: no certificate in it")
	}
	pair, err := tls.LoadX509KeyPair(cfg.Certificate, cfg.Key)
	if err != nil {
		return store.ClusterConfig{}, fmt.Errorf("read store.certificate and store.key: %w", err)
	}
	return store.ClusterConfig{
		Endpoints: cfg.Endpoints,
		TLS: &tls.Config{
			MinVersion: tls.VersionTLS12, // what older etcd servers speak
			RootCAs:    roots, Certificates: []tls.Certificate{pair},
		},
	}, nil
}
