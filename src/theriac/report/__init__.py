"""What an audit tells people: one HTML page that needs nothing but a browser, and a few lines for the terminal."""

from theriac.report.html import render, write_report
from theriac.report.record import AuditReport, CredentialSummary, Reproduction, WrittenFile
from theriac.report.terminal import summary

__all__ = [
    "AuditReport",
    "CredentialSummary",
    "Reproduction",
    "WrittenFile",
    "render",
    "summary",
    "write_report",
]
