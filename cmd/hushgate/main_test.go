package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"hushgate": func() { os.Exit(run()) }})
}

func TestScripts(t *testing.T) {
	pcaps, err := filepath.Abs("../../testpcaps")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{Dir: "testdata/script", Cmds: map[string]func(*testscript.TestScript, bool, []string){
		"api": apiCommand, "did": didCommand, "exits": exitsCommand,
	}, Setup: func(e *testscript.Env) error {
		e.Setenv("PCAPS", pcaps)
		e.Setenv("TZ", "UTC")
		return nil
	}})
}
