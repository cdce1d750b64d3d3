package pog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	sqlite3 "github.com/mattn/go-sqlite3"
)

// application ids of the two files, so that neither is taken for another
// program's database or for each other
// (https://www.sqlite.org/pragma.html#pragma_application_id).
const (
	ledgerAppID = 0x524c_4c47 // "RLLG"
	viewsAppID  = 0x524c_5657 // "RLVW"
)

// busyTimeout is how long a connection waits for another process's lock.
const busyTimeout = 5 * time.Second

// database is one of the store's files and how to bring it to the present
// schema.
type database struct {
	what   string // "ledger" or "views", for messages
	path   string
	appID  int64
	access access
	// version is the schema this program writes; upgrade brings an older one,
	// or a new file (version 0), up to it inside a transaction.
	version int64
	upgrade func(c *conn, from int64) error
}

// open opens the file, creating it when it is not there, and brings its
// schema up to date. It does no work that grows with the file.
func (d *database) open() (*conn, error) {
	deadline := time.Now().Add(busyTimeout)
	for pause := time.Millisecond; ; pause *= 2 {
		c, err := d.tryOpen()
		// SQLite reports some locks, such as the switch to WAL by another
		// process that opens the file for the first time, without waiting.
		if classify(err) != ErrBusy || time.Now().After(deadline) {
			return c, storageError("open "+d.what, d.path, err)
		}
		time.Sleep(min(pause, 50*time.Millisecond))
	}
}

func (d *database) tryOpen() (*conn, error) {
	if err := d.look(); err != nil {
		return nil, err
	}
	if err := d.claim(); err != nil {
		return nil, err
	}
	c, err := openConn(d.path, d.access)
	if err != nil {
		return nil, err
	}
	if err := d.migrate(c); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// look refuses, before SQLite sees it, what is not a regular file of ours.
// Opening another program's database would already change its journal mode.
func (d *database) look() error {
	info, err := os.Lstat(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		f, err := os.OpenFile(d.path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		if errors.Is(err, fs.ErrExist) {
			return d.look()
		}
		if err != nil {
			return err
		}
		return f.Close()
	}
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return &StorageError{Code: ErrNotRegular, Op: "open " + d.what, Path: d.path,
			Err: fmt.Errorf("it is %s", describeMode(info.Mode()))}
	}
	return d.lookInside()
}

// lookInside reads the file's header
// (https://www.sqlite.org/fileformat.html#the_database_header).
func (d *database) lookInside() error {
	f, err := os.Open(d.path)
	if err != nil {
		return err
	}
	defer f.Close()
	var header [100]byte
	n, err := io.ReadFull(f, header[:])
	if n == 0 {
		return nil // new, or being made by another process
	}
	if err != nil || string(header[:16]) != "SQLite format 3\x00" {
		return &StorageError{Code: ErrCorrupt, Op: "open " + d.what, Path: d.path,
			Err: errors.New("it does not begin like a database")}
	}
	if id := int64(binary.BigEndian.Uint32(header[68:])); id != d.appID {
		return &StorageError{Code: ErrForeign, Op: "open " + d.what, Path: d.path,
			Err: fmt.Errorf("application id %08x, want %08x", id, d.appID)}
	}
	return d.checkVersion(int64(binary.BigEndian.Uint32(header[60:])))
}

func (d *database) checkVersion(version int64) error {
	if version <= d.version {
		return nil
	}
	return &StorageError{Code: ErrNewerSchema, Op: "open " + d.what, Path: d.path,
		Err: fmt.Errorf("schema version %d, this program knows up to %d", version, d.version)}
}

// claim writes the application id into a new file before it becomes a WAL
// database: from then on the header says whose it is, whatever is in the WAL.
func (d *database) claim() error {
	if info, err := os.Stat(d.path); err != nil || info.Size() > 0 {
		return err
	}
	const options = "?mode=rw&_busy_timeout=5000&_synchronous=FULL"
	db, err := (&sqlite3.SQLiteDriver{}).Open(fileURI(d.path) + options)
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.(*sqlite3.SQLiteConn).Exec(fmt.Sprintf(
		"BEGIN IMMEDIATE; PRAGMA application_id=%d; COMMIT", d.appID), nil)
	return err
}

// migrate brings the schema up to date under the write lock.
func (d *database) migrate(c *conn) error {
	version, err := c.pragma("user_version")
	if err != nil || version == d.version {
		return err
	}
	return c.tx(func() error {
		version, err := c.pragma("user_version") // another process may have been first
		if err != nil || version == d.version {
			return err
		}
		if err := d.checkVersion(version); err != nil {
			return err
		}
		if err := d.upgrade(c, version); err != nil {
			return fmt.Errorf("upgrade from schema version %d: %w", version, err)
		}
		return c.script(fmt.Sprintf("PRAGMA user_version=%d", d.version))
	})
}

func describeMode(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a directory"
	case m&fs.ModeSymlink != 0:
		return "a symbolic link"
	case m&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeDevice != 0:
		return "a device"
	}
	return "a special file"
}

// makeDir creates the store's directory for its owner alone.
func makeDir(dir string) error {
	err := os.MkdirAll(dir, 0o700)
	return storageError("create", dir, err)
}
