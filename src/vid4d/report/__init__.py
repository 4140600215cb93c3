"""Reports of a run: report.html, the contact sheet, advice."""
