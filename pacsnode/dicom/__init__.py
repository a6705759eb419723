"""What DICOM says: pure functions and values. No sockets, files or SQL."""
