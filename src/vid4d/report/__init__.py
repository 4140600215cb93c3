"""What a run tells people: report.html, the contact sheet, advice."""
