# Everything is built with the same tags; a bare `go test` works on packages
# that need none of them.
GO       ?= go
TAGS     := sqlite_fts5 sqlite_omit_load_extension netgo osusergo urfave_cli_no_docs
LDFLAGS  := -s -w -linkmode external -extldflags -static
GOBUILD  := CGO_ENABLED=1 $(GO) build -trimpath -buildvcs=false -tags '$(TAGS)'

.PHONY: all test
all: bin/runloop

bin/runloop: FORCE
	$(GOBUILD) -ldflags '$(LDFLAGS)' -o $@ .

test:
	$(GO) test -tags '$(TAGS)' ./...

FORCE:
