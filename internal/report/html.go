package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// HTML writes the report as a page without anything from elsewhere: no script, no font, no picture that is not drawn in it.
func (r *Report) HTML(w io.Writer, most int) error {
	if err := pageTemplate.Execute(w, r.page(most)); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}
