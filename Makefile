GO    ?= go
TOOLS := $(GO) tool -modfile=.tools/go.mod
LINT  := $(GO) tool -modfile=.tools/lint/go.mod golangci-lint
BUF   := $(TOOLS) buf
FUZZ  ?= 1000000x

# The same for all, so that one cache serves building, testing and linting.
export CGO_ENABLED ?= 0
export GOFLAGS     ?= -trimpath

.PHONY: all build demo test race e2e soak lint proto proto-check fuzz bench clean help

all: build test lint ## everything that needs no root

build: ## build the commands into bin/
	$(GO) build -o bin/ ./cmd/...

demo: ## the whole way of a byte on this machine, without root (KEEP=1 keeps it running)
	$(GO) run ./e2e/demo

test: ## unit tests and in-process stories; as root also the stories in network namespaces
	$(GO) test $(TESTFLAGS) $$($(GO) list ./... | grep -v /e2e)
	$(GO) test $(TESTFLAGS) -p 1 ./e2e/...

race: ## the tests under the race detector
	CGO_ENABLED=1 $(GO) test -race -short $$($(GO) list ./... | grep -v /e2e)

e2e: ## stories through real tunnels in network namespaces (root)
	$(GO) test -count=1 -v ./e2e/...

soak: ## 1,000 kill cycles of the control plane, 10^8 packets between VPCs and the long stories (root, two hours)
	SOAK=1 $(GO) test -count=1 -timeout 3h -run 'Soak|Kill|Storm' ./e2e/... ./controlplane/... ./gateway ./gateway/filter ./gateway/policy

lint: ## gofmt, vet and the linters of .golangci.yml
	$(LINT) run ./...
	cd e2e/kinesis && $(GO) tool -modfile=../../.tools/lint/go.mod golangci-lint run ./...

proto: ## regenerate the API's Go code
	$(BUF) format -w proto --path proto/causeway
	$(BUF) generate proto --template proto/buf.gen.yaml --path proto/causeway -o proto

proto-check: ## buf lint, breaking changes against main, generated code is current
	.ci/proto-check

fuzz: ## every fuzz target, FUZZ (a million) executions or seconds each
	.ci/fuzz $(FUZZ)

bench: ## our figures beside those of the peers, in one run (root)
	$(GO) run ./e2e/bench

clean: ## remove what was built
	rm -rf bin

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14
