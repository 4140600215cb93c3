"""The app: a page in a browser on which a clip is dropped and an asset comes out (`vid4d app`)."""
