# Runloop is one static binary. `make` builds it, `make run` shows it at work,
# `make test` passes all tests; `make help` lists the rest.

GO      ?= go
PREFIX  ?= $(HOME)/.local
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo 0.1.0)

# SQLite with FTS5 and nothing that loads code; names are resolved in Go.
TAGS    := sqlite_fts5 sqlite_omit_load_extension netgo osusergo urfave_cli_no_docs
LDFLAGS := -s -w -X github.com/runloop-os/runloop/runloop.version=$(VERSION) \
           -linkmode external -extldflags -static
export CGO_ENABLED := 1

APPLETS := runloopd rlp agtop
GUEST   := $(wildcard agents/crew/*.go wasm/guest/*.go)
BUNDLES := $(wildcard agents/bundles/*/*)

.PHONY: all agents run test race lint fmt generate bench install clean help FORCE

all: bin/runloop $(APPLETS:%=bin/%)

bin/runloop: agents FORCE
	$(GO) build -trimpath -buildvcs=false -tags '$(TAGS)' -ldflags '$(LDFLAGS)' -o $@ .

$(APPLETS:%=bin/%): bin/%:
	@mkdir -p bin && ln -sf runloop $@

agents: agents/dist/.stamp

agents/dist/crew.wasm: $(GUEST) go.mod
	GOOS=wasip1 GOARCH=wasm CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false \
	  -buildmode=c-shared -ldflags='-s -w' -o $@ ./agents/crew

agents/dist/.stamp: agents/dist/crew.wasm $(BUNDLES) agents/stamp/main.go
	$(GO) run ./agents/stamp agents/bundles agents/dist
	@touch $@

FORCE:
