"""What each section of the report says, as plain values that its template writes down."""
