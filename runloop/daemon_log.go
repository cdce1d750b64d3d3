package runloop

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
)

// logger is the daemon's log. Its level can change, and its file be another
// under the same name.
type logger struct {
	*slog.Logger
	level *slog.LevelVar
	file  *logFile // nil: stderr
}

// newLogger logs to the configured file, or else to stderr: as JSON where that
// is no terminal, if the format is auto.
func newLogger(io *IO, cfg *Loaded) (*logger, error) {
	l := &logger{level: &slog.LevelVar{}}
	if err := l.setLevel(cfg.Logging.Level); err != nil {
		return nil, err
	}
	out := io.Stderr
	if cfg.Logging.File != "" {
		l.file = &logFile{path: cfg.Logging.File}
		if err := l.file.reopen(); err != nil {
			return nil, err
		}
		out = l.file
	}
	l.Logger = slog.New(logHandler(out, cfg.Logging.Format == "json" ||
		cfg.Logging.Format == "auto" && !io.isTerminal(out), l.level))
	return l, nil
}

func logHandler(out io.Writer, json bool, level slog.Leveler) slog.Handler {
	opts := &slog.HandlerOptions{Level: level}
	if json {
		return slog.NewJSONHandler(out, opts)
	}
	return slog.NewTextHandler(out, opts)
}

// logLevel is the level that a configuration names.
func logLevel(name string) (slog.Level, error) {
	if name == "trace" {
		name = "debug"
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(name)); err != nil {
		return level, fmt.Errorf("must be error, warn, info, debug or trace")
	}
	return level, nil
}

func (l *logger) setLevel(name string) error {
	level, err := logLevel(name)
	if err != nil {
		return usageErrorf("config: logging.level %w", err)
	}
	l.level.Set(level)
	return nil
}

// reopen makes the file anew where it was moved away.
func (l *logger) reopen() error {
	if l.file == nil {
		return nil
	}
	return l.file.reopen()
}

func (l *logger) close() {
	if l.file != nil {
		l.file.close()
	}
}

// logFile is a file that a rotating program may move away.
type logFile struct {
	path string
	mu   sync.Mutex
	f    *os.File
}

// Write implements io.Writer.
func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.f.Write(p)
}

// reopen opens the path; after an error the file is the one it was.
func (l *logFile) reopen() error {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return usageErrorf("config: logging.file: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f != nil {
		l.f.Close()
	}
	l.f = f
	return nil
}

func (l *logFile) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.f.Close()
}
