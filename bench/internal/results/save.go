package results

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// The files of a run.
const (
	ReportFile = "RESULTS.md"
	DataFile   = "results.json"
)

// Save writes r into dir: the samples, the report, and its plots.
func Save(r *Run, dir string) error {
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fmt.Errorf("encode the results: %w", err)
	}
	return errors.Join(os.WriteFile(filepath.Join(dir, DataFile), append(data, '\n'), 0o644), Render(r, dir))
}

// Render writes the report and its plots into dir.
func Render(r *Run, dir string) error {
	written, err := drawAll(r, dir)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, ReportFile), []byte(Markdown(r, written)), 0o644)
}

// Load reads what Save wrote.
func Load(dir string) (*Run, error) {
	data, err := os.ReadFile(filepath.Join(dir, DataFile))
	if err != nil {
		return nil, err
	}
	r := &Run{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("read %s: %w", DataFile, err)
	}
	return r, nil
}
