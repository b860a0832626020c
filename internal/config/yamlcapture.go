package config

import (
	"errors"
	"math"
	"path/filepath"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// Capture says where the first packets of rejected connections are kept, and for how long.
type Capture struct {
	File   string        // absolute, ends in .pcapng; empty: nothing is kept
	Size   int           // octets of one file
	Files  int           // of them, the one that is written included
	Age    time.Duration // of the oldest packets
	Memory int           // octets of each shard, for packets of connections that are not judged yet
}

// Defaults of Capture.
const (
	captureSize   = 10 << 20
	captureFiles  = 7
	captureAge    = 7 * 24 * time.Hour
	captureMemory = 16 << 20
)

// capture reads {file, size, files, age, memory}.
func (r *yamlReader) capture(key string, node ast.Node) {
	var file at[string]
	var size, files, memory at[int]
	var age at[time.Duration]
	before := len(r.errs)
	r.mapping(key, node, yamlKeys{
		"file": r.checked(&file, "an absolute path that ends in .pcapng", checkCaptureFile),
		// Room for a few connections at least, so that not every one begins a file.
		"size":   r.number(&size, 1<<16, math.MaxInt32),
		"files":  r.number(&files, 1, 1000),
		"age":    r.duration(&age),
		"memory": r.number(&memory, 1<<16, math.MaxInt32),
	})
	if !file.set() && len(r.errs) == before {
		r.wrong(lineOf(node), key, "needs file: where to keep the packets")
	}
	if age.set() && age.value < time.Minute {
		r.wrong(age.line, "age", "expected a minute or more")
	}
	r.raw.global.capture = Capture{
		File: file.value, Size: size.or(captureSize), Files: files.or(captureFiles), Age: age.or(captureAge),
		Memory: memory.or(captureMemory),
	}
}

func checkCaptureFile(s string) error {
	switch {
	case !filepath.IsAbs(s):
		return errors.New("it is not absolute")
	case filepath.Ext(s) != ".pcapng":
		return errors.New("it does not end in .pcapng")
	}
	return nil
}
