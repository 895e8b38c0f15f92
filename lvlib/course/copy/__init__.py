"""The learner's working copy of the notebooks: made once, brought up to date with every answer kept."""
