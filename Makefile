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
MANUAL  := 1 5 8
SHARE   := $(DESTDIR)$(PREFIX)/share
BASHDIR := $(SHARE)/bash-completion/completions
ZSHDIR  := $(SHARE)/zsh/site-functions
FISHDIR := $(SHARE)/fish/vendor_completions.d
GUEST   := $(wildcard agents/crew/*.go wasm/guest/*.go)
BUNDLES := $(wildcard agents/bundles/*/*)

.PHONY: all agents run test shell-test shells soak race lint fmt generate golden wasi-std bench install uninstall clean help FORCE

## all: build bin/runloop and its names
all: bin/runloop $(APPLETS:%=bin/%)

bin/runloop: agents FORCE
	$(GO) build -trimpath -buildvcs=false -tags '$(TAGS)' -ldflags '$(LDFLAGS)' -o $@ .

$(APPLETS:%=bin/%):
	@mkdir -p bin && ln -sf runloop $@

## agents: compile the built-in agents into agents/dist
agents: agents/dist/.stamp

agents/dist/crew.wasm: $(GUEST) go.mod
	GOOS=wasip1 GOARCH=wasm CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false \
	  -buildmode=c-shared -ldflags='-s -w' -o $@ ./agents/crew

agents/dist/.stamp: agents/dist/crew.wasm $(BUNDLES) agents/stamp/main.go
	$(GO) run ./agents/stamp agents/bundles agents/dist
	@touch $@

## run: import the sample people and notes, and have the crew write an email
run: all
	bin/rlp kb import testdata/people testdata/notes
	bin/rlp run compose_email --local --yes --progress text -p recipient="John Okafor" -p topic="Q4 plan"

## test: all tests
test: agents shells
	$(GO) test -tags '$(TAGS)' ./...

## shell-test: those of the shells' integration, in real shells in tmux
shell-test: agents shells
	$(GO) test -tags '$(TAGS)' -run TestShell ./runloop

shells:
	@for p in zsh bash tmux; do command -v $$p >/dev/null || \
	  echo "$$p is not installed: the tests that need it are skipped"; done

## race: the same under the race detector
race: agents
	$(GO) test -race -tags '$(TAGS)' ./...

## golden: record the runs in testdata/runs anew, after agents were changed
golden: agents
	$(GO) test -tags '$(TAGS)' ./runloop -run TestGoldenRuns -update-runs

## soak: the same, as often and as long as the specification says
soak: agents
	RUNLOOP_SOAK=1 OPENING_MODEL=1 $(GO) test -tags '$(TAGS)' -timeout 12h ./...

## lint: formatting, vet, generated code, modules, import rules
lint: agents
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	  if [ -n "$$unformatted" ]; then echo "not gofmt-clean (make fmt):"; echo "$$unformatted"; exit 1; fi
	$(GO) vet -tags '$(TAGS)' ./...
	GOOS=wasip1 GOARCH=wasm CGO_ENABLED=0 $(GO) vet ./wasm/guest ./agents/crew ./wasm/testdata/probe
	$(GO) mod tidy -diff
	$(GO) test -tags '$(TAGS)' -run 'TestHouse|TestGenerated' ./runloop

## fmt: format the code
fmt:
	gofmt -w $$(git ls-files '*.go')

## generate: make the generated code and the manual anew
generate: agents
	$(GO) generate ./...
	$(GO) test -tags '$(TAGS)' -run TestGeneratedManPages ./runloop -update-man

## wasi-std: go's own tests of the standard library under runloop wasi, and under wazero
wasi-std: all
	testdata/wasi/std.sh bin/runloop

## bench: measure, beside references, and print one table
bench: all
	$(GO) -C testdata/bench build -o ../../bin/bench-table ./table
	bin/bench-table

## install: copy the binary, its names, the manual, completions and shell files below PREFIX
install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(SHARE)/runloop/shell $(MANUAL:%=$(SHARE)/man/man%) $(BASHDIR) $(ZSHDIR) $(FISHDIR)
	install -m 755 bin/runloop $(DESTDIR)$(PREFIX)/bin/runloop
	for a in $(APPLETS); do ln -sf runloop $(DESTDIR)$(PREFIX)/bin/$$a; done
	for n in $(MANUAL); do install -m 644 packaging/man/*.$$n $(SHARE)/man/man$$n; done
	install -m 644 packaging/shell/* $(SHARE)/runloop/shell
	install -m 644 runloop/completion/bash $(BASHDIR)/runloop
	install -m 644 runloop/completion/fish $(FISHDIR)/runloop.fish
	install -m 644 runloop/completion/zsh $(ZSHDIR)/_rlp
	for a in $(APPLETS); do ln -sf runloop $(BASHDIR)/$$a; ln -sf runloop.fish $(FISHDIR)/$$a.fish; done

## uninstall: take them away again
uninstall:
	rm -rf $(SHARE)/runloop/shell
	rm -f $(DESTDIR)$(PREFIX)/bin/runloop $(APPLETS:%=$(DESTDIR)$(PREFIX)/bin/%) $(ZSHDIR)/_rlp
	rm -f $(foreach n,$(MANUAL),$(patsubst packaging/man/%,$(SHARE)/man/man$n/%,$(wildcard packaging/man/*.$n)))
	rm -f $(foreach a,runloop $(APPLETS),$(BASHDIR)/$a $(FISHDIR)/$a.fish)

## clean: remove what was built
clean:
	rm -rf bin
	find agents/dist -mindepth 1 ! -name README -delete

## help: this list
help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

FORCE:
