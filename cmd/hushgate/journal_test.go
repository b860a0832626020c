package main

import (
	"bytes"
	"log/slog"
	"testing"
)

func TestJournalHandler(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(newJournalHandler(&b, slog.LevelInfo))
	log.Debug("not this one")
	log.Info("ready", "shards", 2)
	log.With("server", "bk/a").Warn("two words", "level", "mine")
	log.WithGroup("g").Error("bad", "time", "noon")
	const want = "<6>msg=ready shards=2\n<4>msg=\"two words\" server=bk/a\n<3>msg=bad g.time=noon\n"
	if b.String() != want {
		t.Errorf("wrote\n%swant\n%s", b.String(), want)
	}
}
