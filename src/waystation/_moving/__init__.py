"""From one medium to another: keep copying (`bridge`), or take everything along (`move`). Both know only the seam."""
